"""What the operating system says this process has open: the side that no patch can miss."""

import stat
from dataclasses import dataclass
from os import fstat  # by name: a test may put its own stand-in into `os`

from harness.probes import fds

Identity = tuple[int, int, str]
"""Device, inode, and what an anonymous inode is: a number alone is reused."""


@dataclass(frozen=True)
class Descriptor:
    """One open descriptor: its number, kind, target and identity."""

    number: int
    kind: str
    target: str
    identity: Identity


def identify(number: int) -> Identity | None:
    """Return the identity of descriptor `number`, or `None` when it is not open."""
    try:
        status = fstat(number)
    except Exception:  # noqa: BLE001  a test's fake raises what it likes
        return None
    is_anonymous = stat.S_IFMT(status.st_mode) == 0  # epoll, inotify …: all on one inode
    return status.st_dev, status.st_ino, fds.target(number) if is_anonymous else ""


def list_descriptors() -> dict[int, Descriptor]:
    """Return every open descriptor of this process by number, without the listing's own."""
    found = {number: describe_descriptor(number) for number in fds.numbers()}
    return {number: each for number, each in found.items() if each is not None}


def describe_descriptor(number: int) -> Descriptor | None:
    """Return what descriptor `number` is, or `None` when it is not open."""
    identity = identify(number)
    if identity is None:
        return None
    target = fds.target(number)
    try:
        return Descriptor(number, _kind(number, target), target, identity)
    except OSError:  # closed meanwhile, by another thread or the garbage collector
        return None


def _kind(number: int, target: str) -> str:
    """Name the kind: an anonymous inode's own name, else the file type of `fstat`."""
    if target.startswith("anon_inode:"):
        return target.removeprefix("anon_inode:").strip("[]").replace("eventpoll", "epoll")
    return fds.kind(number) or "fd"
