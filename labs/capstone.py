"""Lab 18: one service, three leaks; which request leaks what? `python -m labs.capstone`."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import capstone as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS, THREADS
from harness.mine import load
from harness.model import Exercise, Gauge, Lab, Option, Setting, Workload
from harness.patience import TICK_S, Patience
from harness.probes import fds
from leaky import capstone as leaky

from .drafts import drafted_elsewhere
from .started import Started
from .words import are

REQUESTS = Gauge("app_requests_total", "Requests", "Requests served")
TRAFFIC = Option(
    "--traffic",
    "which requests come in; 0: all three in turn, 1, 2 or 3: only those",
    "--leaky --traffic 1",
    default=0,
    maximum=3,
)
GOOD, BAD = "1\n2\n39\n", "1\ntwo\n"
PATIENCE_S = 0.5


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Serve one request per operation, of each kind in turn or of the one asked for."""
    _furnish(setting.directory)
    only = int(setting.options[TRAFFIC.key] or 0)
    served = 0

    def serve(number: int) -> object:
        nonlocal served
        request = REQUESTED[(only or number % len(REQUESTED) + 1) - 1]
        answer = request(intake, number)
        served += 1
        return answer

    with closing(subject.Intake(setting.directory)) as intake:
        yield Workload(serve, {REQUESTS: lambda: served})


def _furnish(directory: Path) -> None:
    for name, text in (("good", GOOD), ("bad", BAD)):
        (directory / name).write_text(text, encoding="utf-8")


def _receive(intake: Any, number: int) -> object:  # noqa: ANN401 - of any copy
    return intake.receive(f"document_{number}", f"{number}\n")


def _total(intake: Any, _number: int) -> object:  # noqa: ANN401 - of any copy
    try:
        return intake.total("bad")
    except ValueError as error:
        return str(error)


def _find(intake: Any, number: int) -> object:  # noqa: ANN401 - of any copy
    return intake.find(str(39 + number % 2), ["good", "bad"])


REQUESTED: tuple[Callable[[Any, int], object], ...] = (_receive, _total, _find)
"""The requests by their number on the command line."""


def documents_are_stored_whole(subject: ModuleType, directory: Path) -> str | None:
    """A document is stored whole, and one that cannot be leaves the one before it as it was."""
    with closing(subject.Intake(directory)) as intake:
        size = intake.receive("a", "é\n" * 3)
        if (size, _text(directory)) != (9, "é\n" * 3):
            return f"receive gave {size} for 9 bytes, and the file holds {_text(directory)!r}"
        try:
            intake.receive("a", "x\n\ud800")  # a lone surrogate has no UTF-8 form
        except UnicodeEncodeError:
            kept = _text(directory)
            damaged = f"a document that could not be stored left {kept!r} in place of the last one"
            return None if kept == "é\n" * 3 else f"{damaged}; write beside it, then replace"
        return "a document that could not be stored raised no error; let its sender see it"


def a_draft_is_beside_its_document(subject: ModuleType, directory: Path) -> str | None:
    """A draft is in the folder of the documents: from another disk it could not be renamed."""
    with closing(subject.Intake(directory)) as intake:
        folder = drafted_elsewhere(lambda: intake.receive("a", "text"), directory)
    if folder is None:
        return None
    return f"a draft was in {folder}; that may be another disk: put it beside the document"


def _text(directory: Path) -> str:
    return (directory / "a").read_text(encoding="utf-8")


def amounts_are_added_up(subject: ModuleType, directory: Path) -> str | None:
    """total adds up, raises ValueError for a bad document, and the clerk sees each message."""
    _furnish(directory)
    with closing(subject.Intake(directory)) as intake:
        if (got := intake.total("good")) != 42:
            return f"total gave {got} for 1, 2 and 39"
        for _ in range(2):
            try:
                got = intake.total("bad")
            except ValueError:
                continue
            return f"total gave {got!r} for a bad document; its sender needs the ValueError"
        told = intake.rejected()
    wanted = 2
    if len(told) == wanted and all("two" in str(line) for line in told):
        return None
    return f"rejected() gives {told} after {wanted} bad documents; the clerk needs each message"


def searches_find(subject: ModuleType, directory: Path) -> str | None:
    """find names the documents with the word, in their order, time and again."""
    _furnish(directory)
    with closing(subject.Intake(directory)) as intake:
        for _ in range(3):
            for word, wanted in (("two", ["bad"]), ("1", ["good", "bad"]), ("x", [])):
                if (got := intake.find(word, ["good", "bad"])) != wanted:
                    return f"find gave {got} for {word!r}, not {wanted}"
    return None


def documents_are_read_together(subject: ModuleType, directory: Path) -> str | None:
    """find reads as many documents at a time as there are readers."""
    pipes = [directory / str(number) for number in range(subject.READERS)]
    for pipe in pipes:
        os.mkfifo(pipe)  # opening it to read waits for a writer
    with closing(subject.Intake(directory)) as intake:
        names = [pipe.name for pipe in pipes]
        search = threading.Thread(target=intake.find, args=("x", names), daemon=True)
        search.start()
        writers: dict[Path, int] = {}
        together = Patience(PATIENCE_S).until(lambda: _all_opened(pipes, writers))
        while search.is_alive():
            for pipe in list(writers):
                os.close(writers.pop(pipe))
            search.join(TICK_S)
            _all_opened(pipes, writers)
    if together:
        return None
    return f"{subject.READERS} documents were not read at the same time; keep the readers"


def _all_opened(pipes: Sequence[Path], writers: dict[Path, int]) -> bool:
    """Open to write those pipes that somebody reads; return whether all are."""
    for pipe in pipes:
        with suppress(OSError):  # nobody reads it now
            if pipe not in writers:
                writers[pipe] = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return len(writers) == len(pipes)


def a_request_leaves_nothing_open(subject: ModuleType, directory: Path) -> str | None:
    """Four requests of one kind leave no descriptor open that was not open before."""
    _furnish(directory)
    with closing(subject.Intake(directory)) as intake:
        for number, request in enumerate(REQUESTED, 1):
            before = fds.count() or 0
            for each in range(4):
                request(intake, each)
            if (still := (fds.count() or 0) - before) > 0:
                return f"{are(still, 'descriptor')} left of 4 requests of kind {number} (--traffic)"
    return None


def closing_ends_the_readers(subject: ModuleType, directory: Path) -> str | None:
    """A service that was closed has no threads left."""
    _furnish(directory)
    started = Started()
    # A module of its own: threads that this one keeps for all its services began in other tests.
    fresh = load(Path(str(subject.__file__)), leaky)
    with closing(fresh.Intake(directory)) as intake:
        intake.find("1", ["good", "bad"])
    if started.end(PATIENCE_S):
        return None
    return f"{are(started.count(), 'thread')} left after close(); who makes a pool ends it"


LAB = Lab(
    name="capstone",
    title="One service, three leaks",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(THREADS, REQUESTS),
    judged=(OPEN_FDS, THREADS),
    warning="Resource leak detected!",
    all_clear="Descriptors and threads stable",
    rate_hz=30,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(THREADS),
        table.gauge_row(REQUESTS),
        table.MEMORY,
        table.RISK,
    ),
    commands=(
        "lsof -a -p {pid} -d ^mem | tail -5",
        "ps -o nlwp= -p {pid}",
        "curl 'http://localhost:{port}/debug/pprof/fd?debug=1'",
    ),
    options=(TRAFFIC,),
    hints=(
        "Let one kind of request in at a time, with --traffic 1, 2 and 3, and see what grows: "
        "descriptors or threads. Each has a cause of its own.",
        "A plain number that nobody owns; the stack `_until_closed`, which lets go at the very "
        "end; and `_rejected`: an error holds its traceback, and that its frames.",
        "Give the number an owner at once: `with open(number, ...)`. Read amounts in a with, and "
        "remember the message. Make one pool of readers for the service, not one per search.",
    ),
    exercise=Exercise(
        task=(
            "The intake stores documents, adds up amounts and finds words. In production both its "
            "descriptors and its threads grow, and there is more than one cause."
        ),
        behaviours=(
            documents_are_stored_whole,
            a_draft_is_beside_its_document,
            amounts_are_added_up,
            searches_find,
            documents_are_read_together,
            a_request_leaves_nothing_open,
            closing_ends_the_readers,
        ),
        operations=12,
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.capstone"))
