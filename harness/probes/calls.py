"""What every thread is doing, looked at in a moment in which none of them runs on."""

import gc
import sys
from collections.abc import Iterator
from time import sleep  # by name: a test may put its own stand-in into `time`
from types import FrameType


def calls_of_threads() -> dict[int, list[FrameType]]:
    """Return the calls that each thread is in by its identifier, the innermost first.

    All are walked at once, at the beginning of a turn of this thread: to ask a frame for its caller
    (`f_back`) after its thread has run on may crash CPython.
    """
    collects = gc.isenabled()
    gc.disable()  # what a collection finalizes may let others run
    try:
        sleep(0)
        return {ident: [*_outwards(top)] for ident, top in sys._current_frames().items()}
    finally:
        if collects:
            gc.enable()


def _outwards(top: FrameType | None) -> Iterator[FrameType]:
    while top is not None:
        yield top
        top = top.f_back
