"""Ends what does not end by itself, and says where it was."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.patience import TICK_S, Patience
from harness.report import place


class Hung(SystemExit):
    """Something took too long: `at` is the line of the copy where it was, empty if not there.

    A SystemExit, because an event loop lets only that (and KeyboardInterrupt) out of a callback.
    """

    def __init__(self, limit_s: float, at: str) -> None:
        super().__init__(f"did not end within {limit_s:g} s")
        self.limit_s = limit_s
        self.at = at


@contextmanager
def within(limit_s: float, file: str) -> Iterator[None]:
    """Raise `Hung` in the body of the `with` after `limit_s`, again and again until it ends.

    Time in which the machine gave this process no processor does not count.

    `file` is the copy's, whose line is told. Only the main thread can be ended so.
    """
    patience = Patience(limit_s)

    def ring(_number: int, frame: FrameType | None) -> None:
        nonlocal patience
        if not patience.lasts():
            patience = Patience(limit_s)
            raise Hung(limit_s, line_of(frame, file))

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def line_of(frame: FrameType | None, file: str) -> str:
    """Return the innermost place in `file` on the stack that ends with `frame`; empty: none."""
    while frame is not None:
        if frame.f_code.co_filename == file:
            return place((file, frame.f_lineno, frame.f_code.co_qualname))
        frame = frame.f_back
    return ""
