"""`python -m harness run script.py`: somebody's program, unchanged, under the tracker."""

import argparse
import atexit
import errno
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from harness.aside import moved_aside
from harness.cli import Parser, between
from harness.errors import UsageError
from harness.holders import find_holders
from harness.probes import fds
from harness.program import Prepared, Program, parse
from harness.report import FindHolders, Report, as_text, group_by_origin, renderer_for
from harness.trace import Out, Trace
from harness.tracker import Describe, Tracker
from harness.tracking.descriptors import identify

LEAKED, USAGE = 1, 2
SHOWN = "backslashreplace"
DESCRIPTION = """Run a Python program and tell which line opened what it leaves open, and who
still holds it: at exit, when it runs out of descriptors, on SIGUSR1, and on SIGTERM
where the program does not take that itself."""
EXAMPLES = """Exit status: the program's own; 1 with --fail-on-leak; 2 if it could not be run.

examples:
  python -m harness run server.py --its-own-option
      tell at its end, and on `kill -USR1 PID`
  python -m harness run --report open.html -m package.tool
      a module; the last dump as a page
  python -m harness run --threshold 200 --http 8099 server.py
      once when 200 descriptors are open, and on http://127.0.0.1:8099
  python -m harness run --fail-on-leak --exclude '*.log' job.py
      in a test: status 1 when what grew is still open, log files aside"""


class Session:
    """Dumps what a running program has open, whenever there is a reason to.

    `out` takes the dumps, `save` each as a report; `find_holders` finds who keeps an object alive.
    """

    def __init__(
        self,
        out: TextIO | None,
        *,
        exclude: Sequence[str] = (),
        threshold: int | None = None,
        trace: Out | None = None,
        find_holders: FindHolders = find_holders,
        save: Callable[[Report], None] | None = None,
    ) -> None:
        self._out = out
        self._save = save
        self._find_holders = find_holders
        self._threshold = threshold
        self._exhausted = False
        self._pid = os.getpid()
        self._forks = 0
        watches = threshold is not None or trace is not None
        self.tracker = Tracker(
            exclude=tuple(exclude),
            on_error=self._failed,
            on_opened=self._opened if watches else None,
        )
        listing = self.tracker.open_resources
        self._trace = Trace(trace, listing, time.monotonic) if trace else None

    def report(self, reason: str) -> Report:
        """Return what is open now, with holders."""
        with self.tracker.unwatched():
            opened = self.tracker.open_resources()
            return Report(reason, os.getpid(), group_by_origin(opened, self._find_holders))

    def dump(self, reason: str) -> Report | None:
        """Write what is open now and return it, `None` where that cannot be told.

        A dump that fails is no failure of the program.
        """
        report = None
        try:
            report = self.report(reason)
            text = as_text(report)
        except Exception as error:  # noqa: BLE001
            text = f"[harness] what is open {reason} cannot be told: {error!r}\n"
        write_at_once(self._out, text)
        if report is not None and self._save is not None:
            self._save(report)
        return report

    def finish(self) -> Report | None:
        """Write what is open once garbage is collected: the last word on the program."""
        gc.collect()
        if self._trace is not None:
            with suppress(OSError):
                self._trace.poll()
        report = self.dump("at exit")
        if self._forks:
            many = "child was" if self._forks == 1 else "children were"
            said = f"[harness] {self._forks} {many} forked: what they open is not seen\n"
            write_at_once(self._out, said)
        return report

    def on_fork(self) -> None:
        """Count a child that goes on with a copy of everything, where nothing is dumped."""
        self._forks += 1

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Dump because a signal asks for it."""
        self.dump(f"on {signal.Signals(number).name}")

    def _failed(self, error: OSError) -> None:
        if error.errno in (errno.EMFILE, errno.ENFILE) and not self._exhausted:
            self._exhausted = True
            self.dump("at 'too many open files'")

    def _opened(self, describe: Describe) -> None:
        if self._trace is not None and os.getpid() == self._pid:  # a forked child is not traced
            with self.tracker.unwatched():
                opened = describe()
                if opened is not None:
                    with suppress(OSError):  # a program may close all descriptors, ours too
                        self._trace.opened(opened)
        if self._threshold is not None and (fds.count() or 0) >= self._threshold:
            threshold, self._threshold = self._threshold, None
            self.dump(f"at the threshold of {threshold} descriptors")


def main(argv: Sequence[str]) -> int:
    """Run the program that `argv` names and return its exit status.

    With --fail-on-leak the process ends with status 1 from its last exit handler when resources
    that grew are still open; 2 is for what cannot be done as asked, before the program starts.
    """
    try:
        options = _parser().parse_args(argv)
        is_module = options.module is not None
        program = parse(options.module if is_module else options.program, is_module)
        session, finish = _session(options)
        answer = _answering(session, options.http)
        end = _End(finish)
        prepared = _prepared(program, session, end)
    except UsageError as error:
        sys.stderr.write(f"harness run: error: {error}\n")
        return USAGE
    return _run(prepared, session, answer, end)


def _prepared(program: Program, session: Session, end: "_End") -> Prepared:
    """Prepare the program, watched, with `end` registered before any exit handler of its own.

    The package that -m imports for it is the program too.
    """
    atexit.unregister(logging.shutdown)  # of the logging that this instrument has imported
    atexit.register(end)
    atexit.register(logging.shutdown)
    session.tracker.__enter__()
    try:
        return program.prepare()
    except BaseException:
        atexit.unregister(end)
        raise


def _run(prepared: Prepared, session: Session, answer: Callable[[], None], end: "_End") -> int:
    """Run the program; `end` learns how that went."""
    os.register_at_fork(after_in_parent=session.on_fork)
    signal.signal(signal.SIGUSR1, session.on_signal)
    _dump_at_sigterm(session)
    answer()  # not before the tracker knows what was open when it started
    end.status = prepared.run()  # the tracker stays on: exit handlers open and close things too
    return end.status


class _End:
    """The last exit handler of all: what is open, then death by the signal that ended the program.

    `status` is the program's, negative for a signal, as a program that Ctrl-C ends has.
    """

    def __init__(self, finish: Callable[[], None]) -> None:
        self._finish = finish
        self.status = 0

    def __call__(self) -> None:
        self._finish()
        if self.status < 0:
            _die_of(-self.status)


def _die_of(number: int) -> None:
    """End by the signal, whatever takes it now."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _dump_at_sigterm(session: Session) -> None:
    """Dump at SIGTERM too, which ends servers, as long as the program does not take it itself.

    A forked child has no part in that, and a program that calls the handler that was there before
    its own is not ended by it.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return

    def dump_and_die(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(number) is dump_and_die:
            session.on_signal(number, frame)
            _die_of(number)

    _take_sigterm(dump_and_die)


def _take_sigterm(handler: Callable[[int, FrameType | None], None]) -> None:
    """Let `handler` take SIGTERM in this process; a forked child dies of it as ever.

    It is blocked while the process forks: one that came before the child has put back the default
    would be forgotten there.
    """
    term = {signal.SIGTERM}
    blocked: list[set[int]] = []

    def before() -> None:
        if signal.getsignal(signal.SIGTERM) is handler:
            blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, term))

    def after() -> None:
        if blocked:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked.pop())

    def in_child() -> None:
        if blocked:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        after()

    signal.signal(signal.SIGTERM, handler)
    os.register_at_fork(before=before, after_in_parent=after, after_in_child=in_child)


def _session(options: argparse.Namespace) -> tuple[Session, Callable[[], None]]:
    save = _saving(options.report) if options.report else None
    trace = _Aside(options.trace) if options.trace else None
    session = Session(
        sys.stderr, exclude=options.exclude, threshold=options.threshold, trace=trace, save=save
    )
    pid = os.getpid()

    def finish() -> None:
        if os.getpid() != pid:
            return
        report = session.finish()
        if options.fail_on_leak and (report is None or has_leak(report)):
            _leave(LEAKED)

    return session, finish


def _saving(path: str) -> Callable[[Report], None]:
    """Return what writes a report to `path`, in the place of the one before."""
    render, file = renderer_for(path), _Aside(path)

    def save(report: Report) -> None:
        with suppress(OSError, ValueError):
            file.replace(render(report))

    return save


class _Aside:
    """A file of ours at `path`, which the program may close as it closes all descriptors.

    Its number may be another file's then: nothing is written to that, and nothing closes it.

    Raises:
        UsageError: it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
        aside = moved_aside(number)  # a name that is no UTF-8 must harm nobody
        self._file = os.fdopen(aside, "w", encoding="utf-8", errors=SHOWN, closefd=False)
        self._identity = identify(self._file.fileno())

    def write(self, text: str) -> None:
        """Write `text` at once; raise OSError where the program has closed the file."""
        if self._is_gone():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._file.write(text)
        self._file.flush()

    def replace(self, text: str) -> None:
        """Write `text` in the place of what is there."""
        if self._is_gone():
            self._path.write_text(text, encoding="utf-8", errors=SHOWN)
            return
        self._file.seek(0)
        self._file.truncate()
        self.write(text)

    def _is_gone(self) -> bool:
        return identify(self._file.fileno()) != self._identity


def write_at_once(out: TextIO | None, text: str) -> None:
    """Write to the program's stderr, which it may not have, have closed, or just be writing to."""
    if out is None:
        return
    with suppress(OSError, ValueError):
        try:
            out.write(text)
            out.flush()
        except RuntimeError:  # a signal came within a write: past the buffer, which is in use
            os.write(out.fileno(), text.encode(errors="replace"))


def _answering(session: Session, asked: int | None) -> Callable[[], None]:
    """Listen on port `asked`, unless there is none; return what begins to answer there."""
    if asked is None:
        return lambda: None
    from harness.open_server import serve

    port, begin = serve(session.report, asked, session.tracker.unwatched)

    def answer() -> None:
        begin()
        write_at_once(sys.stderr, f"[harness] what is open: http://127.0.0.1:{port}/\n")

    return answer


def has_leak(report: Report) -> bool:
    """Say whether something grew: one line opened some of a kind more than once, all still open."""
    return any(group.openings > 1 for group in report.groups)


def _leave(status: int) -> NoReturn:
    """End with `status` from an exit handler, which cannot change it in any other way."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness run",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    count, port = between(1, 2**31 - 1, whole=True), between(0, 65535, whole=True)
    add("--threshold", type=count, metavar="N", help="dump once when N descriptors are open")
    add("--http", type=port, metavar="PORT", help="serve what is open on 127.0.0.1 (0: any port)")
    add("--trace", metavar="FILE", help="a line for each opening and closing")
    add(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out a target, kind or opening file that this fits as a whole (*, ?)",
    )
    add("--report", metavar="FILE", help="the last dump as .json, .html or .txt")
    add("--fail-on-leak", action="store_true", help="exit status 1 when what grew is still open")
    add("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE", help="run a module")
    add("program", nargs=argparse.REMAINDER, help="the script and its arguments")
    return parser
