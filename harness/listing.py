"""What lsof, ss, netstat and /proc show of a process, and who answers where they are missing."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .model import Run, View
from .patience import Patience
from .probes import fds

TIMEOUT_S = 5.0
POLL_S = 0.01
READING_PROC = "lsof", "netstat"
"""On Linux these find nothing, and call that no error, where /proc is not mounted."""


class ToolError(Exception):
    """A tool of the operating system gave no usable answer; the text says why."""


def has_proc() -> bool:
    """Tell whether /proc is there, or this is a system that needs none."""
    return sys.platform != "linux" or Path("/proc/self").exists()


def exists_here(command: str, system: str = sys.platform) -> bool:
    """Tell whether a shell's command line is one for this system: /proc and ss are Linux's."""
    only_linux = command.startswith("ss ") or "/proc/" in command or "nlwp" in command
    return system == "linux" or not only_linux


def output_of(command: Sequence[str], directory: Path, timeout_s: float = TIMEOUT_S) -> list[str]:
    """Return the lines that `command` prints, through a file in `directory`.

    `posix_spawn` opens that file in the child: this process, which is being listed, gets no pipe
    for it, and the call works without a free descriptor.
    """
    path = shutil.which(command[0])
    if path is None:
        raise ToolError(f"{command[0]} is not installed")
    if command[0] in READING_PROC and not has_proc():
        raise ToolError(f"{command[0]} shows nothing without /proc")
    target = directory / f"output-of-{command[0]}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 1, str(target), flags, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    try:
        child = os.posix_spawn(path, [*command], os.environ, file_actions=actions, setpgroup=0)
        _wait(child, command, timeout_s)
        if shutil.disk_usage(directory).free == 0:
            raise ToolError(f"{command[0]}'s output found no room on a full disk")
        return target.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ToolError(f"{command[0]} could not be run: {error.strerror}") from None


def _wait(pid: int, command: Sequence[str], timeout_s: float) -> None:
    """Wait for a tool to end; whatever else ends the waiting ends it too, and what it started.

    lsof has a child for what may hang; both are in a process group of their own.
    """
    patience = Patience(timeout_s)
    try:
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if not patience.lasts():
                raise ToolError(f"{command[0]} did not answer within {timeout_s:g} s")
            time.sleep(POLL_S)
    except BaseException:
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        raise


def lsof(arguments: Sequence[str], directory: Path) -> list[str]:
    """Return the rows of `lsof arguments`, its header first; none where nothing matches."""
    rows = output_of(["lsof", *arguments], directory)
    return table("lsof", "COMMAND", rows) if rows else rows


def table(tool: str, header: str, rows: list[str]) -> list[str]:
    """Return the rows from that which begins with `header`.

    Raises:
        ToolError: there is none, the tool printed something else.
    """
    starts = [at for at, row in enumerate(rows) if row.startswith(header)]
    if not starts:
        said = repr(rows[0][:40]) if rows else "nothing"
        raise ToolError(f"{tool} printed something else than its table: {said}")
    return [row for row in rows[starts[0] :] if row.strip()]


def open_files(run: Run, directory: Path, pattern: str) -> list[View]:
    """Return the views of a process's open files: lsof's rows, those with `pattern`, and /proc.

    Rows without mapped libraries (`-d ^mem`), which a program without an interpreter would not
    have. Where lsof gives no answer the counts are the descriptors', and the view says so.
    """
    arguments = ["-a", "-p", str(run.pid), "-d", "^mem"]
    command = f"lsof {' '.join(arguments)}"
    try:
        rows = lsof(arguments, directory)
        source = "lsof"
    except ToolError as error:
        rows = [target for _, target in fds.targets()]
        source = f"{error}: descriptors counted from {fds.folder() if has_proc() else 'fstat'}"
    counted = _count(f"{command} | wc -l", source, "lsof_rows", len(rows))
    if not has_proc():  # nor does anything tell their names
        return [counted]
    matching = sum(pattern in row for row in rows)
    return [
        counted,
        _count(f"{command} | grep -c {pattern}", source, "lsof_matching", matching),
        *_proc(run.pid, directory),
    ]


def _proc(pid: int, directory: Path) -> list[View]:
    folder = f"/proc/{pid}/fd"
    if not Path(folder).is_dir():
        return []
    try:
        count, source = _numbered(output_of(["ls", folder], directory)), "ls"
    except ToolError as error:
        count, source = sum(1 for _ in fds.targets()), f"{error}: counted without it"
    return [_count(f"ls {folder} | wc -l", source, "proc_fds", count)]


def _numbered(rows: Sequence[str]) -> int:
    """Return how many rows there are: numbers all, of which this process has some."""
    if not rows or not all(row.isdecimal() for row in rows):
        raise ToolError("ls printed something else than descriptors")
    return len(rows)


def _count(command: str, source: str, name: str, count: int) -> View:
    return View(command, source, (str(count),), {name: count})
