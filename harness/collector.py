"""The garbage collector, put off while something is looked at."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Put off the garbage collector until the block ends.

    What a look at many objects allocates would start a full collection, which changes what is
    found and stops every thread of the program for longer than the look itself.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
