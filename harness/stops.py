"""What ends a run before its time: a signal, a closed output, a parent that is gone."""

import errno
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle

OUTPUT_CLOSED = (errno.EPIPE, errno.EIO)
"""What writing to a pipe without a reader gives, and to a terminal that has been closed."""

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOP_PATIENCE_S = 0.5


class Stopped(SystemExit):
    """A signal ended the run; its exit status is 128 + the signal's number, as in a shell.

    A SystemExit, because an event loop lets only that (and KeyboardInterrupt) out of a callback.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


def stop(number: int, _frame: FrameType | None = None) -> None:
    """End the run as signal `number` does; signals that follow find it ending already.

    They are taken by a handler that does nothing: of signals that came together with this one and
    are ignored by now, CPython would complain ("ignored due to race condition").
    """
    for ending in ENDING:
        signal.signal(ending, _ending_already)
    # What was about to begin in an event loop will not, and Python would say so.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    # And what it cut off may complain as it is collected: asyncio's transports in 3.13.0 do.
    sys.unraisablehook = _last_words
    raise Stopped(number)


def _last_words(_said: object) -> None:
    """Take what an object raises that is collected while the run ends; it helps nobody."""


def _ending_already(_number: int, _frame: FrameType | None) -> None:
    """Take a signal that comes too late to matter."""


def ignore_signals() -> None:
    """Let no signal change how this process ends, now that it has said what it had to say.

    The interpreter gives up handlers as it ends, and a second Ctrl-C then would kill it.
    """
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)


def stopped_by(error: BaseException) -> Stopped | None:
    """Return the `Stopped` that an error was made of, if one was.

    A handler may raise anywhere: until 3.12 Python wraps what is raised while a class is made (in
    `__set_name__`) in a RuntimeError, and an event loop that is stopped as its main task ends
    raises one of its own.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, Stopped):
        cause = cause.__cause__ or cause.__context__
    return cause


def stop_on_signals() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP raise `Stopped` in the main thread, once."""
    for ending in ENDING:
        signal.signal(ending, stop)


def stop_between_callbacks(
    loop: "AbstractEventLoop", first: Callable[[], None] = lambda: None
) -> None:
    """Let the same signals end `loop` between two of its callbacks; `first` is called before that.

    Its tasks are all there then; as the loop ends they are cancelled, one after the other.

    What is raised between the making of a coroutine and its first step leaves it never awaited, and
    Python says so on stderr. A signal that comes `LOOP_PATIENCE_S` after the first ends a loop that
    is stuck in a callback wherever it is.
    """
    handed_over: Handle | None = None
    since_s = 0.0

    def end(number: int) -> None:
        try:
            first()
        finally:
            stop(number)

    def hand_over(number: int, _frame: FrameType | None) -> None:
        nonlocal handed_over, since_s
        if handed_over is None and not loop.is_closed():
            since_s = time.monotonic()
            handed_over = loop.call_soon_threadsafe(end, number)
        elif handed_over is None or time.monotonic() - since_s > LOOP_PATIENCE_S:
            if handed_over is not None:
                handed_over.cancel()
            stop(number)

    for ending in ENDING:
        signal.signal(ending, hand_over)


def silence(stream: TextIO) -> None:
    """Point a stream whose reader has gone at the null device.

    The interpreter flushes it once more as it ends and would complain (the note on SIGPIPE in
    Python's documentation of the `signal` module).
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
