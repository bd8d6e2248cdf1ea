"""How a copy ended before its time, in sentences for the learner."""

import os
import signal
from types import TracebackType

from harness.errors import UsageError
from harness.report import place

from .alarm import Hung


class Broken(Exception):
    """A copy cannot be driven on; the message is a sentence for the learner."""


def told(what: str, error: BaseException, file: str) -> str:
    """Return a sentence on how `what` (an operation, a test) of the copy at `file` ended."""
    if isinstance(error, Broken | UsageError):
        return str(error)
    if isinstance(error, Hung):
        at = f" it was at {error.at};" if error.at else ""
        return f"{what} did not end within {error.limit_s:g} s:{at} let it come to an end"
    at = _at(line_in(error.__traceback__, file))
    if isinstance(error, SystemExit):
        return f"{what} called sys.exit{at}; return or raise, and leave the process to its caller"
    return f"{what} {described(error)}{at}"


def described(error: BaseException) -> str:
    """Return an error's type and message, without a line."""
    if isinstance(error, RecursionError):
        return "called itself without an end (RecursionError)"
    message = f": {error}" if str(error) else ""
    return f"raised {type(error).__name__}{message}"


def line_in(traceback: TracebackType | None, file: str) -> str:
    """Return the innermost place in `file` of a traceback; empty: none."""
    found = ""
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == file:
            found = place((file, traceback.tb_lineno, code.co_qualname))
        traceback = traceback.tb_next
    return found


def _at(line: str) -> str:
    return f" at {line}" if line else ""


def of_process(exit_code: int | None) -> str:
    """Return a sentence on a process that ended without a word, from its exit code.

    A negative code is a signal's number; `None`: it had to be ended.
    """
    if exit_code is None:
        return "it did not come to an end, and could not be interrupted; is there an endless loop?"
    if exit_code >= 0:
        return (
            f"it ended the process with status {exit_code} (os._exit?); "
            "return or raise, and leave the process to its caller"
        )
    name = signal.Signals(-exit_code).name
    return f"its process was ended by {name}; did it send that signal, or recurse without an end?"


def watch_forks(file: str, forks: list[str]) -> None:
    """From now on end what the copy at `file` forks, and note in `forks` the line that did it.

    A forked copy would go on as if it were the judge.
    """
    import sys

    from .alarm import line_of

    place_of_fork = [""]

    def before() -> None:
        place_of_fork[0] = line_of(sys._getframe(), file)

    def in_parent() -> None:
        if place_of_fork[0]:
            forks.append(place_of_fork[0])

    def in_child() -> None:
        if place_of_fork[0]:
            os._exit(0)

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
