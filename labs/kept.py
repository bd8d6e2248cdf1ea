"""How much memory is kept of what was done."""

import gc
import tracemalloc
from collections.abc import Callable

MEGABYTE = 2**20


def kept_bytes(act: Callable[[], object]) -> int:
    """Return how many of the bytes that Python takes for `act` it still holds afterwards.

    Every allocation is counted, so that it is all the same in what shape something is kept.
    """
    gc.collect()
    tracemalloc.start()
    try:
        act()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
