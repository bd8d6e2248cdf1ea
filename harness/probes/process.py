"""What another process has open: figures in constant time, and a listing that costs more."""

import math
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from . import fds

if TYPE_CHECKING:
    import psutil

T = TypeVar("T")

ELSEWHERE = "in no table"
"""The state of sockets that the system lists nowhere: not bound, not connected, or netlink."""


@dataclass(frozen=True)
class Figures:
    """What is asked at every report; `None` could not be measured, `math.inf` is no limit."""

    open_fds: int | None
    fd_limit: float | None
    threads: int | None
    rss_bytes: int | None


@dataclass(frozen=True)
class Listing:
    """Descriptors by kind, and sockets by state (`UDP` and `UNIX` have none of their own)."""

    kinds: Mapping[str, int]
    states: Mapping[str, int]


class Process:
    """A running process, known by its PID and its start: a number used again is not it.

    The constructor raises `psutil.NoSuchProcess` (a zombie has ended, too) or
    `psutil.AccessDenied`.
    """

    def __init__(self, pid: int, proc: str = "/proc") -> None:
        import psutil

        self.pid = pid
        self._fd = f"{proc}/{pid}/fd"
        self._has_proc = Path(proc, str(pid)).is_dir()
        self._process = psutil.Process(pid)
        self.command = command(self._process)
        if not self.is_alive():
            raise psutil.NoSuchProcess(pid)
        if not self._is_readable():
            raise psutil.AccessDenied(pid)

    def _is_readable(self) -> bool:
        """Try what a listing needs: Linux tells the count of any process, but not what it is."""
        if not self._has_proc:
            return self.open_fds() is not None
        try:
            os.scandir(self._fd).close()
        except OSError:
            return False
        return True

    def is_alive(self) -> bool:
        """Tell whether it still runs; one that its parent has yet to wait for does not."""
        import psutil

        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def open_fds(self) -> int | None:
        """Return how many descriptors are open: one `stat` on Linux 6.2 and newer."""
        return fds.count(self.pid)

    def figures(self) -> Figures | None:
        """Return the figures of this moment, `None` when the process has ended."""
        with self._process.oneshot():
            found = Figures(
                self.open_fds(),
                measured(self._limit),
                measured(self._process.num_threads),
                measured(lambda: self._process.memory_info().rss),
            )
            return found if self.is_alive() else None

    def _limit(self) -> float | None:
        """Return the soft limit on descriptors; only Linux and FreeBSD tell another process's."""
        import psutil

        if not hasattr(self._process, "rlimit"):
            return None
        soft = self._process.rlimit(psutil.RLIMIT_NOFILE)[0]
        return math.inf if soft == psutil.RLIM_INFINITY else soft

    def listing(self) -> Listing | None:
        """List every descriptor, which costs some microseconds each; `None`: it has ended."""
        if not self._has_proc:
            return measured(lambda: listing_without_proc(self._process))
        try:
            kinds = Counter(map(kind, _targets(self._fd)))
        except OSError:
            return None
        states = measured(lambda: _states(self._process, kinds["socket"]))
        return Listing(kinds, states or {})


def measured(question: Callable[[], T]) -> T | None:
    """Return the answer to `question`, `None` where the system does not give it."""
    import psutil

    try:
        return question()
    except (psutil.Error, OSError):
        return None


def _targets(folder: str) -> Iterator[str]:
    for number in os.listdir(folder):
        try:
            yield os.readlink(f"{folder}/{number}")
        except FileNotFoundError:
            continue


def kind(target: str) -> str:
    """Return the kind of what a link in /proc/PID/fd leads to (proc_pid_fd(5)).

    Links are read, never followed: a look at a file on a dead network mount would not come back.
    So a directory or a named pipe is a `file`.
    """
    if target.startswith("/"):
        return _kind_of_path(target)
    name, _, detail = target.partition(":")
    if name != "anon_inode" or not detail:
        return name
    return detail.strip("[]").replace("eventpoll", "epoll")


def _kind_of_path(path: str) -> str:
    if path.startswith("/memfd:"):
        return "memfd"
    return "device" if path.startswith("/dev/") and not path.startswith("/dev/shm/") else "file"


def _states(process: "psutil.Process", sockets: int) -> Mapping[str, int]:
    """Count sockets by state; the tables are the whole machine's, so not without a socket."""
    if not sockets:
        return {}
    states = Counter(map(_state, process.net_connections("all")))
    if sockets > states.total():
        states[ELSEWHERE] = sockets - states.total()
    return states


class Connection(Protocol):
    """What psutil says of a socket, as far as it is used here."""

    @property
    def family(self) -> int:
        """The address family."""

    @property
    def status(self) -> str:
        """The TCP state, `NONE` where it has none."""


def _state(connection: Connection) -> str:
    if connection.status != "NONE":
        return connection.status
    return "UNIX" if connection.family == socket.AF_UNIX else "UDP"


def listing_without_proc(process: "psutil.Process") -> Listing:
    """List what `process` has open by psutil alone, as on macOS: files, sockets, and the rest.

    Raises `psutil.Error`.
    """
    files = len(process.open_files())
    states = Counter(map(_state, process.net_connections("all")))
    rest = process.num_fds() - files - states.total()
    kinds = {"file": files, "socket": states.total(), "other": max(0, rest)}
    return Listing({name: count for name, count in kinds.items() if count}, states)


def command(process: "psutil.Process") -> str:
    """Return a process's command line, or its name where it has none or hides it."""
    return " ".join(measured(process.cmdline) or [measured(process.name) or "?"])


def named(name: str) -> list[tuple[int, str]]:
    """Return PID and command line of each process of the user's that is called `name`.

    That is its own name or one of the first words of its command line, without directories
    (`python -u server.py` is called `server.py`); if none is, those whose command line contains
    it. This process and those that started it are left out; root sees everybody's.
    """
    import psutil

    here = psutil.Process()
    own = {here.pid, *(parent.pid for parent in here.parents())}
    others = [each for each in psutil.process_iter() if each.pid not in own and _is_mine(each)]
    called = [each for each in others if name in _names(each)]
    containing = called or [each for each in others if name in command(each)]
    return [(each.pid, command(each)) for each in containing]


WORDS = 4
"""Interpreter, a flag or two, script: what follows are a program's own arguments."""


def _names(process: "psutil.Process") -> set[str]:
    words = measured(process.cmdline) or []
    return {measured(process.name) or "", *(Path(word).name for word in words[:WORDS])}


def _is_mine(process: "psutil.Process") -> bool:
    uids = measured(process.uids)
    return uids is not None and os.geteuid() in (0, uids.effective)
