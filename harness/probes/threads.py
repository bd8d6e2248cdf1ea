"""Which threads of this process run Python."""

import sys
import threading
from collections.abc import Callable


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
