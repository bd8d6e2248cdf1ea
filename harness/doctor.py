"""`python -m harness doctor`: is this machine ready? Each line was tried just now, on real files.

For whoever must know the evening before that it works at nine: what is measured here is what the
labs measure, by the same probes and the same tools.
"""

import argparse
import importlib.util
import os
import platform
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from . import command, limits
from .cli import Parser
from .clock import Clock, SystemClock
from .errors import UsageError
from .listing import ToolError, lsof, output_of, table
from .ports import listen
from .probes import fds, sockets
from .terminal import Terminal
from .workdir import base, workdir

PROGRAM = "python -m harness doctor"
READY, STAND_IN, BROKEN = "✓", "·", "✗"
PORTS = (6060, 6061, 8080, 8081)
"""The defaults of the debug servers and of the upstreams."""
FILES = 20
DESCRIPTORS_NEEDED = 600
"""A leaky run of ten seconds at the default rate has 508 open in the end."""
ROOM_MB = 50
WAITS, WAIT_S, LATE_S = 20, 0.01, 0.02
"""A report within 20 ms of its time is on time."""
COLUMN = 12


@dataclass(frozen=True)
class Finding:
    """What was tried, and what came of it; `then` is what to do about it."""

    mark: str
    what: str
    said: str
    then: str = ""


@dataclass(frozen=True)
class Tool:
    """A program that the guide uses: what for, what there is without it, and who packages it."""

    name: str
    without: str
    debian: str
    macos: str = ""

    @property
    def install(self) -> str:
        """How to get it on this system."""
        if sys.platform == "darwin":
            return f"brew install {self.macos}" if self.macos else "it comes with macOS"
        return f"apt install {self.debian}"


LSOF = Tool("lsof", "counts come from /proc or psutil, and say so", "lsof")
SS = Tool("ss", "connections by state come from psutil, and say so", "iproute2")
NETSTAT = Tool("netstat", "its count comes from psutil, and says so", "net-tools")
OTHERS = (
    Tool("curl", "a browser shows the same pages", "curl"),
    Tool("go", "`python -m harness pprof` and the flame graph read profiles", "golang-go", "go"),
    Tool("dot", "`go tool pprof` draws no graphs; flame graphs need none", "graphviz", "graphviz"),
    Tool("prometheus", "`harness monitor` cannot run", "prometheus", "prometheus"),
)


def python() -> Finding:
    """Name the interpreter and the system."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Finding(READY, "Python", f"{platform.python_version()} on {system}")


def descriptors(folder: Path, count: Callable[[], int | None] = fds.count) -> Finding:
    """Open some files and see `count` go up by as many, and down again."""
    before = count()
    with ExitStack() as files:
        for number in range(FILES):
            files.enter_context((folder / f"file-{number}").open("w", encoding="utf-8"))
        during = count()
    after = count()
    said = f"{before} open, {during} with {FILES} files more, {after} when those are closed"
    if before is not None and (during, after) == (before + FILES, before):
        return Finding(READY, "descriptors", said)
    then = "the figures of the labs would be wrong here: is /proc (or /dev/fd) the real one?"
    return Finding(BROKEN, "descriptors", said, then)


def limit() -> Finding:
    """Tell how many descriptors a run may have."""
    said = f"{limits.soft():.0f} descriptors, {limits.hard():.0f} when a run raises it"
    if limits.hard() >= DESCRIPTORS_NEEDED:
        return Finding(READY, "limit", said)
    then = f"a leaky run needs {DESCRIPTORS_NEEDED}: raise the hard limit (ulimit -Hn), or --rate 5"
    return Finding(BROKEN, "limit", said, then)


def connections(
    _folder: Path, count: Callable[[int], Mapping[str, int]] = sockets.clients_by_state
) -> Finding:
    """Connect to a port of our own and see one more connection counted that a client holds.

    Others to a port of the same number may still be in TIME_WAIT.
    """
    with closing(listen(0, "--port")) as listener:
        address = listener.getsockname()
        before = sockets.held(count(address[1]))
        with closing(socket.create_connection(address)):
            counted = sockets.held(count(address[1])) - before
    said = f"1 made on loopback, {counted} counted"
    if counted == 1:
        return Finding(READY, "connections", said)
    return Finding(BROKEN, "connections", said, "the figures of HTTP labs would be wrong here")


def pace(clock: Clock) -> Finding:
    """Wait for some moments and see how late it was then."""
    late_s = max(_late_s(clock) for _ in range(WAITS))
    said = f"{WAITS} waits of {WAIT_S * 1e3:.0f} ms, {late_s * 1e3:.1f} ms late at most"
    if late_s <= LATE_S:
        return Finding(READY, "clock", said)
    return Finding(
        STAND_IN, "clock", said, "reports will be late: this machine has much else to do"
    )


def _late_s(clock: Clock) -> float:
    due_s = clock.now_s() + WAIT_S
    clock.wait_until(due_s)
    return clock.now_s() - due_s


def room(folder: Path) -> Finding:
    """Tell how much room there is for the files of a run."""
    free_mb = shutil.disk_usage(folder).free / 1e6
    said = f"{base()}: {free_mb:.0f} MB free"
    if free_mb >= ROOM_MB:
        return Finding(READY, "room", said)
    return Finding(BROKEN, "room", said, "make room there, or set TMPDIR to another folder")


def port(number: int) -> Finding:
    """Tell whether one of the default ports is free, or who has it."""
    try:
        listen(number, "--port").close()
    except UsageError as error:
        said = str(error).removeprefix("--port ").partition(";")[0]
        then = "stop that, or give another --port or --upstream-port (0: any free one)"
        return Finding(STAND_IN, "port", said, then)
    return Finding(READY, "port", f"{number} is free")


def tools(folder: Path) -> Iterator[Finding]:
    """Have the system's tools count as the labs do; look for the others."""
    pid = str(os.getpid())
    yield _tried(LSOF, lambda: lsof(["-a", "-p", pid, "-d", "^mem"], folder))
    if sys.platform == "linux":
        yield _tried(SS, lambda: table("ss", "State", output_of(["ss", "-tan"], folder)))
    yield _tried(NETSTAT, lambda: table("netstat", "Proto", output_of(["netstat", "-an"], folder)))
    for tool in OTHERS:
        path = shutil.which(tool.name)
        yield Finding(READY, tool.name, path) if path else _missing(tool, "not installed")


def _tried(tool: Tool, rows: Callable[[], Sequence[str]]) -> Finding:
    try:
        return Finding(READY, tool.name, f"answers, with {len(rows())} rows")
    except ToolError as error:
        return _missing(tool, str(error).removeprefix(f"{tool.name} is "))


def _missing(tool: Tool, why: str) -> Finding:
    return Finding(STAND_IN, tool.name, f"{why}: {tool.without}", tool.install)


def plots() -> Finding:
    """Tell whether `--plot` can draw."""
    if importlib.util.find_spec("matplotlib"):
        return Finding(READY, "matplotlib", "installed")
    return Finding(
        STAND_IN, "matplotlib", "not installed: no --plot", "python -m pip install -e '.[plot]'"
    )


def findings(folder: Path, clock: Clock) -> Iterator[Finding]:
    """Try one thing after the other, in `folder`; what cannot even be tried is told as well."""
    yield python()
    for each in (descriptors, connections):
        yield _whatever_comes(each, folder)
    yield limit()
    yield room(folder)
    yield pace(clock)
    yield from map(port, PORTS)
    yield from tools(folder)
    yield plots()


def _whatever_comes(tried: Callable[[Path], Finding], folder: Path) -> Finding:
    try:
        return tried(folder)
    except OSError as error:
        then = "the labs need this: is it forbidden here?"
        return Finding(BROKEN, tried.__name__, f"could not be tried: {error}", then)


def examine(terminal: Terminal, clock: Clock) -> int:
    """Print what is found and what follows from it.

    Returns the exit status: 0 when the labs can run here, whatever has a stand-in; 1 when not.
    """
    found = []
    with workdir() as folder:
        for finding in findings(folder, clock):
            found.append(finding)
            _show(finding, terminal)
    broken = [each.what for each in found if each.mark == BROKEN]
    missing = any(each.mark == STAND_IN for each in found)
    terminal.line()
    if broken:
        terminal.prose(f"Not ready: {', '.join(broken)}.")
        return command.FOUND
    but = f"; what is marked {STAND_IN} has a stand-in" if missing else ""
    terminal.prose(f"Ready: all that the labs need was tried and works{but}.")
    return command.DONE


def _show(finding: Finding, terminal: Terminal) -> None:
    terminal.prose(f"{finding.mark} {finding.what:<{COLUMN}}{finding.said}")
    if finding.then:
        terminal.prose(" " * (COLUMN + 2) + finding.then)


def main(argv: Sequence[str]) -> int:
    """Examine this machine; return the exit status, 2 for what was not asked for properly."""
    return command.run(PROGRAM, lambda: _main(argv))


def _main(argv: Sequence[str]) -> int:
    Parser(
        prog=PROGRAM,
        description="Try what the labs need on this machine, and say what stands in for the rest.",
        epilog="exit status: 0 the labs can run here, 1 they cannot, 2 it could not be tried",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    ).parse_args(argv)
    return examine(Terminal(sys.stdout), SystemClock())
