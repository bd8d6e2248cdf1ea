"""How many descriptors a process has open, and what they are."""

import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path


def count(pid: int | None = None, proc: str = "/proc") -> int | None:
    """Return the number of open descriptors of `pid` (default: this process), without its own.

    On Linux 6.2 and newer one `stat` of /proc/PID/fd answers in constant time: its size is the
    count (the kernel's Documentation/filesystems/proc.rst). Older kernels give 0 there and the
    folder is listed; elsewhere psutil or /dev/fd answers. `None`: the process cannot be read.
    """
    path = f"{proc}/{'self' if pid is None else pid}/fd"
    try:
        return os.stat(path).st_size or _listed(path, own=pid in (None, os.getpid()))
    except OSError:
        return _count_without_proc(pid)


def _listed(path: str, own: bool) -> int:
    """Count what is in folder `path`; our own holds the descriptor of the listing itself too."""
    return len(os.listdir(path)) - own


def _count_without_proc(pid: int | None, dev_fd: str = "/dev/fd") -> int | None:
    if pid is None and sys.platform != "linux":
        return _listed(dev_fd, own=True)
    import psutil

    try:
        return int(psutil.Process(pid).num_fds())
    except psutil.Error:
        return None


def targets(proc: str = "/proc") -> Iterator[tuple[int, str]]:
    """Yield each open descriptor of this process with its target: a path, or `socket:[…]` etc.

    Where there is no /proc the target is the kind that `fstat` tells.
    """
    where = folder(proc)
    for number in sorted(int(name) for name in os.listdir(where)):
        target = _target(where, number)
        if target is not None:
            yield number, target


def folder(proc: str = "/proc") -> str:
    """Return the folder that lists this process's own descriptors."""
    return f"{proc}/self/fd" if Path(proc, "self", "fd").is_dir() else "/dev/fd"


def _target(where: str, number: int) -> str | None:
    """Return what a descriptor leads to; `None`: it was the listing's own and is closed."""
    try:
        return os.readlink(f"{where}/{number}")
    except OSError:
        return _kind(number)


KINDS = {
    stat.S_IFSOCK: "socket",
    stat.S_IFIFO: "pipe",
    stat.S_IFCHR: "device",
    stat.S_IFREG: "file",
}


def _kind(number: int) -> str | None:
    try:
        return KINDS.get(stat.S_IFMT(os.fstat(number).st_mode), "other") + ":"
    except OSError:
        return None


def by_directory() -> Mapping[str, int]:
    """Count this process's open descriptors by the directory or kind of their targets."""
    return Counter(place(target) for _, target in targets())


def place(target: str) -> str:
    """Return a target's directory, or its kind where it is no path: `socket`, `anon_inode`."""
    return str(Path(target).parent) if target.startswith("/") else target.partition(":")[0]
