"""How a command of ours ends: its exit status, and one line instead of a traceback."""

import sys
from collections.abc import Callable

from .errors import UsageError, without_room

DONE, FOUND, USAGE, SIGNALLED, CLOSED_OUTPUT = 0, 1, 2, 128, 141


def run(program: str, work: Callable[[], int]) -> int:
    """Do `work` and return its exit status, or the one that fits how it ended.

    2: it could not be done as asked, and one line on stderr says why; 128 + a signal's number:
    that signal ended it (130 Ctrl-C); 141: its output was closed.
    """
    if sys.stdout is None:
        return refuse(program, "standard output is closed: there is nowhere to print to")
    from . import stops

    stops.stop_on_signals()
    try:
        status = work()
        sys.stdout.flush()
    except UsageError as error:
        return _written(refuse(program, str(error)))
    except (stops.Stopped, OSError, RuntimeError) as error:
        if no_room := without_room(error):
            return _written(refuse(program, str(no_room)))
        ended_with = _status_of(error)
        if ended_with is None:
            raise
        status = ended_with
    return _written(status)


def _status_of(error: BaseException) -> int | None:
    """Return the exit status for an error that is an end like others; `None`: it is not one."""
    from . import stops

    if stopped := stops.stopped_by(error):
        return 128 + stopped.number
    is_output = isinstance(error, OSError) and error.errno in stops.OUTPUT_CLOSED
    return CLOSED_OUTPUT if is_output else None


def _written(status: int) -> int:
    """Write out what is buffered while a closed output can still be told from a failed run."""
    from . import stops

    for stream in (sys.stdout, sys.stderr):
        try:
            stream and stream.flush()
        except OSError:
            stops.silence(stream)
    if status > SIGNALLED:
        stops.ignore_signals()
    return status


def refuse(program: str, message: str) -> int:
    """Say in one line on stderr why `program` cannot do as asked; return the exit status.

    A terminal gets it folded between words, but for a command in it, which somebody may copy.
    """
    from .terminal import Terminal

    if sys.stderr is not None:
        terminal = Terminal(sys.stderr)
        show = terminal.line if "python -m " in message else terminal.prose
        show(f"{program.removeprefix('python -m ')}: error: {message}")
    return USAGE
