"""Places that are hard to live in: a full disk, no /proc, no rights, tools that misbehave.

Root gets the real thing; another user what comes next to it.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

NOBODY = 65534
_AND_RUN = 'exec "$@"'


@cache
def works(*command: str) -> bool:
    """Tell whether a command succeeds here."""
    try:
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


def can_mount() -> bool:
    """Tell whether a file system can be mounted in a namespace of its own."""
    return works("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt")


def described() -> str:
    """Say what the surroundings are made of on this machine."""
    if not can_mount():
        return "the full disk is RLIMIT_FSIZE, /proc and rights are as they are"
    return (
        "the full disk is a small tmpfs, /proc is hidden by an empty tmpfs (`unshare -m`), "
        "the user without rights is nobody (`setpriv`)"
    )


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[Sequence[str]]:
    """Make `folder` a disk with room for `size_kb` (0: one that is full), yield a prefix."""
    if os.geteuid() != 0 or not can_mount():
        no_bytecode = "export PYTHONDONTWRITEBYTECODE=1"  # Python would keep what it half wrote
        yield ["bash", "-c", f"{no_bytecode}; ulimit -f {size_kb}; {_AND_RUN}", "bash"]
        return
    options = f"size={max(size_kb, 4)}k,mode=777" + (",nr_inodes=1" if size_kb == 0 else "")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield []
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def hidden_proc() -> list[str]:
    """Return the prefix that hides /proc, or none where that cannot be done."""
    if not can_mount():
        return []
    return ["unshare", "-m", "sh", "-c", f"mount -t tmpfs tmpfs /proc && {_AND_RUN}", "sh"]


def nobody(folder: Path) -> list[str]:
    """Return the prefix that gives up all rights but those on `folder`, and to read files.

    Without that an interpreter in somebody's home could not be started at all.
    """
    if os.geteuid() != 0:
        return []
    for each in (folder.parent, folder):
        each.chmod(0o777)
    reading = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *reading]


def shims(folder: Path, scripts: Mapping[str, str]) -> Path:
    """Return a folder for PATH with a shell script for each tool."""
    made = folder / "bin"
    made.mkdir()
    for tool, script in scripts.items():
        path = made / tool
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
    return made
