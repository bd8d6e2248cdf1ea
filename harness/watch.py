"""The command `python -m harness watch`: what a running process has open, and whether it grows."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence

from . import command, stops
from .cli import Parser, between
from .clock import Clock, SystemClock
from .errors import UsageError
from .model import Verdict
from .probes.process import Process, named
from .terminal import YELLOW, Terminal
from .watching import REPORTS_AT_LEAST, REPORTS_FOR_LEAK, Watcher, judge_all, judge_short
from .watchview import WARNING, Csv, Lines, Table, View, summary, verdict_lines

PROGRAM = "python -m harness watch"
DONE, LEAK = 0, 1
SHOWN_MATCHES = 5
DESCRIPTION = """\
Watch what a running process of yours has open: descriptors by kind, sockets by state, threads,
memory, how fast that grows, and in how many seconds its descriptors run out. A live table on a
terminal, a line per report in a pipe. The process is only looked at, never stopped or changed.

Counting costs the same however many descriptors there are (on Linux 6.2 and newer); listing them
by kind does not, so that is done as often as takes 5 % of the time, and its age is shown.
"""
EPILOG = """\
A leak is growth in every one of the last reports (--reports; of all, at least 3, where --duration
is over earlier), of the lowest count in each, above all that was seen before. Descriptors and
threads are judged, memory is only shown. A pool that fills grows, too, and so does a server on
whose connections load wanders: give a longer --every than that lasts.

exit status:
  0    the time was over or the process ended by itself (a line says which)
  1    --until-leak: it leaks; the evidence is printed
  2    no such process, one that may not be read, a name that fits none or several, a wrong option
  130  Ctrl-C, after a summary; 143 SIGTERM, 129 SIGHUP
  141  the reader of the output has gone

examples:
  python -m harness watch 4711
      a live table until Ctrl-C
  python -m harness watch --name server.py --every 10 | tee server.log
      a line every 10 seconds
  python -m harness watch 4711 --csv --duration 60 > server.csv
      a minute as CSV, messages on stderr
  python -m harness watch 4711 --until-leak --duration 300 || echo leaks
      in a test: five minutes at most
  python -m harness watch 4711 --until-leak --every 60 --reports 10
      growth in each of ten minutes
"""


def parser() -> Parser:
    """Return the parser of the command's options."""
    made = Parser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whom = made.add_mutually_exclusive_group(required=True)
    pid = between(1, 2**31 - 1, whole=True)
    whom.add_argument("pid", nargs="?", type=pid, metavar="PID", help="number of the process")
    whom.add_argument("--name", type=_word, help="its name, its script's, or part of its command")
    number = between(0.05, 86400)
    made.add_argument(
        "--every", type=number, default=2.0, metavar="S", help="seconds between reports (default 2)"
    )
    made.add_argument(
        "--duration", type=number, default=math.inf, metavar="S", help="seconds (default: no end)"
    )
    made.add_argument("--csv", action="store_true", help="a row per report, messages on stderr")
    made.add_argument("--until-leak", action="store_true", help="end at a leak, with status 1")
    made.add_argument(
        "--reports",
        type=between(REPORTS_AT_LEAST, 100, whole=True),
        default=REPORTS_FOR_LEAK,
        metavar="N",
        help=f"reports that must all have grown for a leak (default {REPORTS_FOR_LEAK})",
    )
    return made


def _word(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name fits every process; give a part of it")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Watch the process that `argv` (default: the command line) names; return the exit status.

    The statuses are in `--help`.
    """
    return command.run(PROGRAM, lambda: _main(argv))


def _main(argv: Sequence[str] | None) -> int:
    options = parser().parse_args(argv)
    needed_s = (REPORTS_AT_LEAST - 1) * options.every
    if options.until_leak and options.duration < needed_s:
        raise UsageError(
            f"--duration {options.duration:g}: nothing is judged before {needed_s:g} s, with "
            f"{REPORTS_AT_LEAST} reports; give a longer one, or a shorter --every"
        )
    return watch(options, found(options.pid, options.name), SystemClock())


def found(pid: int | None, name: str | None) -> Process:
    """Return the process with that PID, or the only one of that name.

    Raises UsageError for a process that does not exist or may not be read, and for a name that
    fits none or several.
    """
    import psutil

    number = pid if name is None else pid_of(name, named)
    assert number is not None
    try:
        return Process(number)
    except psutil.NoSuchProcess:
        if psutil.pid_exists(number):
            raise UsageError(
                f"process {number} has ended (a zombie: its parent has not asked how)"
            ) from None
        raise UsageError(f"no process has PID {number}: `ps -e` lists those there are") from None
    except psutil.AccessDenied:
        raise UsageError(
            f"process {number} may not be read: it is another user's (or protected); "
            f"watch it as that user, or with sudo"
        ) from None


def pid_of(name: str, search: Callable[[str], list[tuple[int, str]]]) -> int:
    """Return the PID of the one process that `search` finds; UsageError when it is not one."""
    matches = search(name)
    if not matches:
        raise UsageError(f"no process of yours is called {name!r}: `ps x` lists them")
    if len(matches) > 1:
        shown = ", ".join(f"{pid} ({short(command)})" for pid, command in matches[:SHOWN_MATCHES])
        more = ", …" if len(matches) > SHOWN_MATCHES else ""
        raise UsageError(f"{len(matches)} processes are called {name!r}: {shown}{more}; give a PID")
    return matches[0][0]


def short(command: str, width: int = 60) -> str:
    """Return a command line in one line of at most `width` characters, without control codes."""
    printable = "".join(each if each.isprintable() else " " for each in command)
    return printable if len(printable) <= width else printable[: width - 1] + "…"


def watch(options: argparse.Namespace, process: Process, clock: Clock) -> int:
    """Watch `process` as the options say, on stdout; return the exit status."""
    watcher = Watcher(process, clock, options.every)
    view = _view(options.csv, f"Process {process.pid}: {short(process.command)}")
    try:
        why, leaking = _follow(watcher, view, options, process.pid)
    except stops.Stopped:
        _summarise("Interrupted", watcher, view)
        raise
    finally:
        view.close()
    _summarise(why, watcher, view)
    return LEAK if leaking and options.until_leak else DONE


def _summarise(why: str, watcher: Watcher, view: View) -> None:
    view.close()
    for line in summary(why, watcher.elapsed_s(), watcher.reports):
        view.say(line)


def _follow(
    watcher: Watcher, view: View, options: argparse.Namespace, pid: int
) -> tuple[str, bool]:
    """Show every report, and a leak once; return why watching ended, and whether it leaks."""
    verdict = None
    for report in watcher.watch(options.duration):
        view.report(report)
        if verdict is None and (verdict := judge_all(watcher.reports, options.reports)):
            _warn(view, verdict, pid)
        if verdict is not None and options.until_leak:
            return "A leak was found", True
    if watcher.has_ended:
        return f"Process {pid} has ended", False
    if verdict is None and (verdict := judge_short(watcher.reports, options.reports)):
        _warn(view, verdict, pid)
    return "The time is over", verdict is not None


def _warn(view: View, verdict: Verdict, pid: int) -> None:
    for line in verdict_lines(verdict, pid):
        view.say(line, YELLOW if line.startswith(WARNING) else None)


def _view(as_csv: bool, title: str) -> View:
    """Return what fits the output: CSV if asked for, a table on a terminal, lines elsewhere."""
    terminal = Terminal(sys.stdout)
    if as_csv:
        return Csv(sys.stdout, Terminal(sys.stderr or sys.stdout))
    if terminal.is_terminal and os.environ.get("TERM") != "dumb":
        return Table(terminal, sys.stdout, title)
    terminal.line(title)
    return Lines(terminal)
