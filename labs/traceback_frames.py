"""Lab 5: kept exceptions keep their frames' files. `python -m labs.traceback_frames`."""

import gc
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from fixed import traceback_frames as fixed
from harness import listing, table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Run, Setting, View, Workload
from harness.probes import fds
from leaky import traceback_frames as leaky

from .words import are

SUMMED = Gauge("app_reports_summed_total", "Summed up", "Reports summed up")
FAILED = Gauge("app_reports_failed_total", "Failed", "Reports failed")
EVERY_BAD = 4
"""One in so many reports has a line without a figure."""


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Sum up one report per operation, every fourth of them with a line that has no figure."""
    batches = [subject.Batch(int)]
    good = _written(setting.directory, "report_good.txt", "1\n2\n3\n")
    bad = _written(setting.directory, "report_bad.txt", "1\n2\nthree\n")
    summed = failed = 0

    def run(number: int) -> object:
        nonlocal summed, failed
        total = batches[0].run(bad if number % EVERY_BAD == EVERY_BAD - 1 else good)
        if total is None:
            failed += 1
        else:
            summed += 1
        return total

    try:
        yield Workload(run, {SUMMED: lambda: summed, FAILED: lambda: failed})
    finally:
        batches.clear()
        gc.collect()  # the batch keeps errors, whose frames keep the batch


def _written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof and /proc count."""
    return listing.open_files(run, setting.directory, "report")


def figures_are_summed_up(subject: ModuleType, directory: Path) -> str | None:
    """run returns the sum of a report's figures, and 0 for an empty one."""
    batch = subject.Batch(int)
    for text, total in (("1\n2\n3\n", 6), ("", 0), ("40\n", 40)):
        got = batch.run(_written(directory, "report.txt", text))
        if got != total:
            return f"run gave {got} for {text!r}, whose figures make {total}"
    return None


def failures_are_listed(subject: ModuleType, directory: Path) -> str | None:
    """failures names each report that failed, with its reason, in order, and again if asked."""
    batch = subject.Batch(int)
    good = _written(directory, "good.txt", "1\n")
    bad = _written(directory, "bad.txt", "one\n")
    other = _written(directory, "other.txt", "2.50\n")
    failed = sum(batch.run(path) is None for path in (good, bad, other, good, *[bad] * 20))
    first = "bad.txt: invalid literal for int() with base 10: 'one\\n'"
    second = "other.txt: invalid literal for int() with base 10: '2.50\\n'"
    wanted = [first, second, *[first] * 20]
    for _ in range(2):
        if (got := batch.failures()) != wanted or failed != len(wanted):
            return _unlike(got, wanted)
    return None


def _unlike(got: Sequence[str], wanted: Sequence[str]) -> str:
    """Return a sentence on the first failure that is not listed as it should be."""
    pairs = [*zip(got, wanted, strict=False), ("nothing", wanted[-1])]
    one, other = next(pair for pair in pairs if pair[0] != pair[1])
    return (
        f"failures lists {len(got)} of {len(wanted)} that failed: {one!r} where it should say "
        f"{other!r}; keep name and text of each"
    )


def a_failed_report_is_closed(subject: ModuleType, directory: Path) -> str | None:
    """A report that failed is closed, while its failure is still to be listed."""
    batch, bad = subject.Batch(int), _written(directory, "bad.txt", "one\n")
    before = fds.count() or 0
    for _ in range(5):
        batch.run(bad)
    still = (fds.count() or 0) - before
    return (
        f"{are(still, 'file')} open after 5 reports that failed; close each before run returns"
        if still
        else None
    )


def other_errors_reach_the_caller(subject: ModuleType, directory: Path) -> str | None:
    """An error that is no fault of a report is raised, and the report is closed."""
    batch, path = subject.Batch({}.__getitem__), _written(directory, "report.txt", "1\n")
    before, kept = fds.count() or 0, []
    try:
        batch.run(path)
    except KeyError as error:
        kept.append(error)  # as an error report would, and with it the frames of the failure
    if not kept:
        return "a KeyError, which no report can cause, was swallowed; let the caller see it"
    still = (fds.count() or 0) - before
    return (
        f"{are(still, 'file')} open while somebody keeps the error that run raised; with closes on "
        "every path"
        if still
        else None
    )


class _Order:
    """What a job has at hand while it reads a line."""


def a_failure_is_a_text(subject: ModuleType, directory: Path) -> str | None:
    """Of a failed job only the text is kept: nothing that it had at hand lives on."""
    had: list[weakref.ref[_Order]] = []

    def amount(line: str) -> int:
        order = _Order()
        had.append(weakref.ref(order))
        try:
            return {"1\n": 1}[line]
        except KeyError as error:
            raise ValueError(f"{order.__class__.__name__} without a figure") from error

    batch, bad = subject.Batch(amount), _written(directory, "bad.txt", "1\none\n")
    for _ in range(3):
        batch.run(bad)
    gc.collect()
    alive = sum(order() is not None for order in had)
    return (
        f"{alive} objects of {len(batch.failures())} failed jobs live on: an exception, and the "
        "one that caused it, hold the frames and their variables; keep the text"
        if alive
        else None
    )


LAB = Lab(
    name="traceback_frames",
    title="Exceptions that are kept",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(SUMMED, FAILED),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=50,
    descriptors_per_operation=1 / EVERY_BAD,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(SUMMED),
        table.gauge_row(FAILED),
        table.MEMORY,
        table.RISK,
        table.limit_row(None),
        table.limit_row(table.COMMON_LIMIT),
    ),
    views=views,
    commands=(
        "lsof -a -p {pid} -d ^mem | grep report | tail -3",
        "curl http://localhost:{port}/debug/pprof/",
    ),
    hints=(
        "Nobody keeps a file in this program. Run it, and read the line `held by` from its end to "
        "its beginning: what holds the file, and what holds that?",
        "Batch._failed keeps exceptions. An exception has a traceback, that has the frames through "
        "which it came, and the frame of _sum has the variable `report`.",
        "Keep `str(error)` instead of the error, and let `with open(...) as report:` close the "
        "file on every path.",
    ),
    exercise=Exercise(
        task=(
            "The batch sums up thousands of reports a night, and lists in the morning which of "
            "them failed and why. After a bad day there are so many that it dies of: Too many open "
            "files."
        ),
        behaviours=(
            figures_are_summed_up,
            failures_are_listed,
            a_failed_report_is_closed,
            other_errors_reach_the_caller,
            a_failure_is_a_text,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.traceback_frames"))
