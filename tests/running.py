"""Runs labs as users do, in processes of their own, and sees what they leave behind."""

import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.patience import Patience

ROOT = Path(__file__).parent.parent
PORT = re.compile(r"localhost:(\d+)|\"server_port\": (\d+)")


@dataclass(frozen=True)
class Finished:
    """A lab's run that is over: exit status, what it wrote, and how long it took."""

    status: int
    out: str
    err: str
    pid: int
    elapsed_s: float

    @property
    def lines(self) -> list[str]:
        """What it wrote to stdout, line by line."""
        return self.out.splitlines()


@dataclass
class Started:
    """A lab that runs: its lines are read in the background as they come."""

    process: subprocess.Popen[str]
    began_s: float = field(default_factory=time.monotonic)
    _out: list[str] = field(default_factory=list)
    _err: list[str] = field(default_factory=list)
    _readers: Sequence[threading.Thread] = ()

    def __post_init__(self) -> None:
        """Read both streams from now on."""
        streams = (self.process.stdout, self._out), (self.process.stderr, self._err)
        self._readers = [
            threading.Thread(target=lines.extend, args=(stream,), daemon=True)
            for stream, lines in streams
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    def see(self, pattern: str, timeout_s: float = 60) -> re.Match[str]:
        """Wait until a line that it has written to stdout matches `pattern`; return the match.

        When it has ended without such a line there is nothing to wait for.
        """
        deadline_s, goes_on = time.monotonic() + timeout_s, True
        while goes_on and time.monotonic() < deadline_s:
            goes_on = self._readers[0].is_alive()
            if found := re.search(pattern, "".join(self._out), re.MULTILINE):
                return found
            time.sleep(0.01)
        within = f"within {timeout_s} s" if goes_on else "until its end"
        raise AssertionError(f"no {pattern!r} {within} in {self._out} {self._err}")

    def count(self, text: str) -> int:
        """Count how often `text` is in what it has written to stdout so far."""
        return "".join(self._out).count(text)

    def end(self, timeout_s: float = 60) -> Finished:
        """Wait for its end."""
        status = self.process.wait(timeout_s)
        elapsed_s = time.monotonic() - self.began_s
        self.join_readers()
        return Finished(status, "".join(self._out), "".join(self._err), self.pid, elapsed_s)

    def join_readers(self) -> None:
        """Wait until all that it wrote is read."""
        for reader in self._readers:
            reader.join(10)


class Place:
    """A temporary folder of its own for the labs of one test, and what is left of them in it."""

    def __init__(self, path: Path) -> None:
        self.tmp = path
        self.tmp.mkdir(parents=True, exist_ok=True)
        self.started: list[Started] = []

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a plain shell, with this place as its TMPDIR."""
        plain = {
            key: value
            for key, value in os.environ.items()
            if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM")
            and not key.startswith(("LC_", "PYTEST_", "COV_", "PYTHON"))
        }
        here = {"TMPDIR": str(self.tmp), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
        return plain | here | more

    def command(self, *arguments: str, module: str = "labs.file_leak") -> list[str]:
        """Return the command that runs a lab."""
        return [sys.executable, "-m", module, *arguments]

    def start(
        self,
        *arguments: str,
        module: str = "labs.file_leak",
        limit: tuple[int, int] | None = None,
        **more: str,
    ) -> Started:
        """Start `python -m module arguments` with stdin, stdout and stderr open, nothing else.

        `limit` is the soft and hard limit on descriptors of the shell that it is started from.
        """
        soft, hard = limit or (0, 0)
        shell = ["bash", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "bash"]
        began_s = time.monotonic()
        process = subprocess.Popen(
            [*(shell if limit else []), *self.command(*arguments, module=module)],
            cwd=ROOT,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self.started.append(Started(process, began_s))
        return self.started[-1]

    def run(self, *arguments: str, **settings: Any) -> Finished:
        """Run a lab to its end; arguments as for `start`."""
        return self.start(*arguments, **settings).end()

    def alive(self) -> list[psutil.Process]:
        """Return the processes that were started here, directly or by those, and still run."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("TMPDIR") == str(self.tmp)
                and process.pid != os.getpid()
            )
        except psutil.Error:
            return False

    def leftovers(self, within_s: float = 20) -> list[str]:
        """Return what is still there of the labs: directories and processes with their ports.

        What goes within `within_s` in which it could is not left over.
        """
        patience = Patience(within_s)
        while (left := self._left()) and patience.lasts():
            time.sleep(0.02)
        return left

    def _left(self) -> list[str]:
        processes = [f"process {process.pid} {process.name()}" for process in self.alive()]
        return processes + [f"file {path}" for path in self.tmp.glob("*")]

    def kill_all(self) -> None:
        """End whatever still runs, and what reads it, so that no test disturbs the next."""
        for process in self.alive():
            process.kill()
        for started in self.started:
            started.process.wait(10)
            started.join_readers()


def ports_in(text: str) -> set[int]:
    """Return the ports that a lab said it listens on."""
    return {int(one or other) for one, other in PORT.findall(text)}


def becomes_free(port: int, within_s: float = 60) -> bool:
    """Wait until `port` can be listened on; return whether it can."""
    deadline_s = time.monotonic() + within_s
    while not is_free(port):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.2)
    return True


def is_free(port: int) -> bool:
    """Return whether `port` of the loopback interface can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_pair() -> int:
    """Return a free port whose next one is free, too.

    It is below those that systems give to whoever connects: another test's client might have taken
    it before it is listened on.
    """
    while True:
        port = random.randrange(20_000, 30_000, 2)
        if is_free(port) and is_free(port + 1):
            return port
