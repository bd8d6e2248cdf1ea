"""How many descriptors a process has open, and what they are."""

import fcntl
import os
import resource
import stat
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import fstat, listdir, readlink  # by name: a test may put its own stand-ins into `os`
from os import stat as status
from pathlib import Path

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}
MOST_SCANNED = 65_536
PATH_MAX = 1024
TURN_S = 0.1
_looking = threading.Lock()


@contextmanager
def turn() -> Iterator[None]:
    """Let no other thread count this process's descriptors while this one looks at them.

    A look takes a descriptor for a moment, and that is not in the picture. Nobody waits longer
    than `TURN_S`: whoever has the turn may be what a signal has interrupted.
    """
    taken = _looking.acquire(timeout=TURN_S)
    try:
        yield
    finally:
        if taken:
            _looking.release()


def count(pid: int | None = None, proc: str = "/proc") -> int | None:
    """Return the number of open descriptors of `pid` (default: this process), without its own.

    On Linux 6.2 and newer one `stat` of /proc/PID/fd answers in constant time: its size is the
    count (the kernel's Documentation/filesystems/proc.rst). Older kernels give 0 there and the
    folder is listed; elsewhere psutil or /dev/fd answers. `None`: the process cannot be read.

    A thread that waits in `accept()` counts as one more there: the kernel takes a number for the
    connection before there is one (`__sys_accept4_file` in net/socket.c), which no listing shows.
    """
    if pid is not None:
        return _counted(pid, proc)
    with turn():
        return _counted(pid, proc)


def _counted(pid: int | None, proc: str) -> int | None:
    path = f"{proc}/{'self' if pid is None else pid}/fd"
    try:
        return os.stat(path).st_size or _listed(path, own=pid in (None, os.getpid()))
    except OSError:
        return _count_without_proc(pid)


def _listed(path: str, own: bool) -> int:
    """Count what is in folder `path`; our own holds the descriptor of the listing itself too."""
    return len(listdir(path)) - own


def _count_without_proc(pid: int | None, dev_fd: str = "/dev/fd") -> int | None:
    if pid is None and sys.platform != "linux":
        return _listed(dev_fd, own=True)
    import psutil

    try:
        return int(psutil.Process(pid).num_fds())
    except psutil.Error:
        return None


def files() -> int | None:
    """Return how many regular files this process has open; `None` where that is not known.

    Each number is asked from 0 up, until all that are open were met. That takes 2 µs for each and
    no descriptor, which a listing would.
    """
    with turn():
        return _files(_counted(None, "/proc"))


def _files(left: int | None) -> int | None:
    if left is None or left > MOST_SCANNED:
        return None
    found = 0
    for number in range(MOST_SCANNED):
        if not left:
            break
        try:
            mode = fstat(number).st_mode
        except OSError:
            continue
        left -= 1
        found += stat.S_ISREG(mode)
    return found


def numbers(proc: str = "/proc") -> list[int]:
    """Return the numbers of this process's open descriptors; the listing's own may be among them.

    Where the folder cannot be listed (no descriptor is left for that, /proc is not mounted or not
    ours to read) every number below the limit is returned.
    """
    try:
        with turn():
            return sorted(int(name) for name in listdir(folder(proc)))
    except OSError:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return list(range(min(soft, MOST_SCANNED)))


def target(number: int, proc: str = "/proc") -> str:
    """Return what a descriptor leads to: a path, or `socket:[…]` and the like; empty: not known.

    On macOS `fcntl` tells the path (fcntl(2), F_GETPATH).
    """
    try:
        return readlink(f"{proc}/self/fd/{number}")
    except OSError:
        return _target_by_fcntl(number)


def _target_by_fcntl(number: int) -> str:
    command = getattr(fcntl, "F_GETPATH", None)
    try:
        found = fcntl.fcntl(number, command, bytes(PATH_MAX)) if command is not None else b""
    except OSError:
        return ""
    return found.rstrip(b"\0").decode(errors="replace")


def kind(number: int) -> str:
    """Return the type of file that `fstat` tells; empty for epoll and others that have none.

    Raises:
        OSError: the descriptor is not open.
    """
    return KINDS.get(stat.S_IFMT(fstat(number).st_mode), "")


def targets(proc: str = "/proc") -> Iterator[tuple[int, str]]:
    """Yield each open descriptor of this process with its target, or with its kind and a colon."""
    for number in numbers(proc):
        try:
            yield number, target(number, proc) or f"{kind(number) or 'other'}:"
        except OSError:  # the listing's own, or closed meanwhile
            continue


def folder(proc: str = "/proc") -> str:
    """Return the folder that lists this process's own descriptors."""
    own = f"{proc}/self/fd"
    try:
        return own if stat.S_ISDIR(status(own).st_mode) else "/dev/fd"
    except OSError:
        return "/dev/fd"


def by_directory() -> Mapping[str, int]:
    """Count this process's open descriptors by the directory or kind of their targets."""
    return Counter(place(found) for _, found in targets())


def place(found: str) -> str:
    """Return a target's directory, or its kind where it is no path: `socket`, `anon_inode`."""
    return str(Path(found).parent) if found.startswith("/") else found.partition(":")[0]
