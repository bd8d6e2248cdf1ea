"""Which threads of this process run Python, and how long they could not."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from . import fds


def names() -> dict[int, str]:
    """Return the name of each thread that runs Python, by its identifier.

    Those started below `threading` (by `_thread`, or by C code that calls into Python) count
    too, and are called `Thread-IDENTIFIER (not threading's)`.
    """
    known = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        ident: known.get(ident, f"Thread-{ident} (not threading's)")
        for ident in sys._current_frames()
    }


def count(exclude: Callable[[str], bool] | None = None) -> int:
    """Return the number of threads that run Python, without those whose name `exclude` accepts."""
    return sum(not (exclude and exclude(name)) for name in names().values())


def starved_s(schedstat: Path = Path("/proc/thread-self/schedstat")) -> float:
    """Return for how many seconds this thread has waited for a processor; 0.0 where nobody says.

    The second figure of `schedstat` is the time spent waiting on a run queue, in nanoseconds
    (Linux, Documentation/scheduler/sched-stats.rst).
    """
    try:
        with fds.turn():
            return int(schedstat.read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
