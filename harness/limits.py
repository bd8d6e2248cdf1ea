"""The process's own limit on open descriptors."""

import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager


def soft() -> float:
    """Return the soft limit on descriptors (`ulimit -n`), infinite where there is none."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def hard() -> float:
    """Return the hard limit: how far this process may raise its soft one."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _number(limit: int) -> float:
    return math.inf if limit == resource.RLIM_INFINITY else limit


def set_soft(limit: float) -> None:
    """Set the soft limit, no further than the hard one."""
    highest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    number = min(limit, hard())
    resource.setrlimit(
        resource.RLIMIT_NOFILE,
        (resource.RLIM_INFINITY if math.isinf(number) else int(number), highest),
    )


def raise_to(needed: float) -> str | None:
    """Raise the soft limit to `needed` where it is lower; return a line that says so, if it did.

    macOS gives a shell 256 descriptors, which a leak of seconds uses up.
    """
    before = soft()
    if needed <= before or before >= hard():
        return None
    after = min(needed, hard())
    set_soft(after)
    return f"descriptor limit raised from {before:.0f} to {after:.0f} for this run (ulimit -n)"


@contextmanager
def limited(limit: float | None) -> Iterator[None]:
    """Hold the body of the `with` to `limit` open descriptors; `None` changes nothing."""
    before = soft()
    if limit is not None:
        set_soft(limit)
    try:
        yield
    finally:
        set_soft(before)
