"""Lab 7: an exporter passes over the error of a close. `python -m labs.close_error`."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import close_error as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.probes import fds
from leaky import close_error as leaky

from .kept import kept_bytes

DAYS = Gauge("app_exports_finished_total", "Days exported", "Days exported")
ERRORS = Gauge("app_errors_heard_total", "Errors heard", "Errors heard")
ROOM_BYTES = 64
"""Enough for the index of ORDERS orders, and not for their rows."""
ORDERS = 8
LARGE = 2**18
"""Characters: more than a file's buffer takes."""
FEW = 2
"""So many large orders may be in memory."""


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond `ROOM_BYTES`, as on a full disk: then writing it is an OSError.

    The operating system refuses (`RLIMIT_FSIZE`), with "File too large".
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Export a day's orders per operation, on a disk without room for the rows."""
    exporter = subject.Exporter(setting.directory)
    days = heard = 0

    def export(day: int) -> object:
        nonlocal days, heard
        with full_disk():
            lengths = [exporter.add(str(day), number, "12 bolts") for number in range(ORDERS)]
            try:
                exporter.finish(str(day))
            except OSError:
                heard += 1
        days += 1
        return lengths

    try:
        yield Workload(export, {DAYS: lambda: days, ERRORS: lambda: heard})
    finally:
        for day in range(days):
            with suppress(Exception):  # where finish did what it should, the day is not known
                exporter.finish(str(day))


def _exported(exporter: Any, orders: int = ORDERS) -> OSError | None:  # noqa: ANN401 - of any copy
    """Export one day on a full disk; return the error that the caller of finish hears."""
    with full_disk():
        for number in range(orders):
            exporter.add("day", number, "12 bolts")
        try:
            exporter.finish("day")
        except OSError as error:
            return error
    return None


def both_files_are_written(subject: ModuleType, directory: Path) -> str | None:
    """Where there is room, a day that is finished is in its two files."""
    exporter = subject.Exporter(directory)
    for number, order in enumerate(("nuts", "naïve ☃")):
        exporter.add("day", number, order)
    exporter.finish("day")
    for name, wanted in (("day.csv", "0,nuts\n1,naïve ☃\n"), ("day.index", "0\n1\n")):
        if (found := (directory / name).read_text(encoding="utf-8")) != wanted:
            return f"{name} holds {found!r} instead of {wanted!r} when finish returns"
    return None


def the_error_is_heard(subject: ModuleType, directory: Path) -> str | None:
    """Rows that find no room are an OSError for the caller of finish."""
    if _exported(subject.Exporter(directory)):
        return None
    size = (directory / "day.csv").stat().st_size
    return f"finish raised no OSError though day.csv was cut off at {size} bytes; let it out"


def the_index_is_closed_all_the_same(subject: ModuleType, directory: Path) -> str | None:
    """The index is written and closed when the rows cannot be."""
    before, exporter = fds.count() or 0, subject.Exporter(directory)
    _kept = _exported(exporter)  # an error that is kept keeps its frames and their files
    if still := (fds.count() or 0) - before:
        return f"left open when the rows' close failed: {still}; close the other one all the same"
    wanted = "".join(f"{number}\n" for number in range(ORDERS))
    found = (directory / "day.index").read_text(encoding="utf-8")
    return None if found == wanted else f"day.index holds {found!r}, though it had room; close it"


def two_errors_leave_nothing_open(subject: ModuleType, directory: Path) -> str | None:
    """Where neither file finds room the caller hears of it, and none stays open."""
    before, exporter = fds.count() or 0, subject.Exporter(directory)
    if _exported(exporter, orders=10 * ORDERS) is None:
        return "finish raised no OSError though neither file had room; let the error out"
    still = (fds.count() or 0) - before
    return f"left open when both closes failed: {still}" if still else None


def orders_are_written_as_they_come(subject: ModuleType, directory: Path) -> str | None:
    """The orders of a day that is not finished are in its files, but for a buffer."""
    exporter, orders = subject.Exporter(directory), 8

    def add() -> None:
        for number in range(orders):
            exporter.add("day", number, "x" * LARGE)

    kept = kept_bytes(add) // LARGE
    exporter.finish("day")
    if kept <= FEW:
        return None
    return f"{kept} of {orders} large orders are in memory until finish; write each as it comes"


def the_next_day_goes_on(subject: ModuleType, directory: Path) -> str | None:
    """A day that failed is over: it can be exported again when there is room."""
    exporter = subject.Exporter(directory)
    _exported(exporter)
    exporter.add("day", 1, "nuts")
    exporter.finish("day")
    found = (directory / "day.csv").read_text(encoding="utf-8")
    return None if found == "1,nuts\n" else f"a day exported again is {found!r}, not '1,nuts\\n'"


LAB = Lab(
    name="close_error",
    title="A close that fails",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(DAYS, ERRORS),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=25,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(DAYS),
        table.released_row(ERRORS, DAYS, "All heard"),
        table.MEMORY,
        table.RISK,
        table.limit_row(None),
        table.limit_row(table.COMMON_LIMIT),
    ),
    commands=(
        "lsof -a -p {pid} -d ^mem | grep index | tail -3",
        "curl 'http://localhost:{port}/debug/pprof/fd?debug=1' | head -20",
    ),
    hints=(
        "Two files are opened for each day, and one of them stays open. Which? And what happened "
        "to the other one?",
        "close() writes the rest of the buffer, and raises where that fails. The lines behind it "
        "do not run: Exporter._open keeps the day and its index.",
        "Take the day out of _open first, close the index in the `finally` of the rows' close, "
        "and let the error go to the caller.",
    ),
    exercise=Exercise(
        task=(
            "The exporter writes orders to a disk that is sometimes full. It has never reported an "
            "error, and yet files are incomplete, and one more is open after each such day."
        ),
        behaviours=(
            both_files_are_written,
            the_error_is_heard,
            the_index_is_closed_all_the_same,
            two_errors_leave_nothing_open,
            the_next_day_goes_on,
            orders_are_written_as_they_come,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.close_error"))
