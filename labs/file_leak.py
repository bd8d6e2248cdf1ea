"""Example 1: a log aggregator leaks a file descriptor per file. `python -m labs.file_leak`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import file_leak as fixed
from harness import listing, table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Run, Setting, View, Workload
from harness.probes import fds
from leaky import file_leak as leaky

from .kept import MEGABYTE, kept_bytes
from .words import are

FILES_OPENED = Gauge("app_files_opened_total", "Files opened", "Files opened")
FILES_CLOSED = Gauge("app_files_closed_total", "Files closed", "Files closed")


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Store one batch per operation; files closed are those opened less those still open."""
    aggregator = subject.LogAggregator(setting.directory)
    opened = 0
    before = setting.open_fds() or 0

    def store(batch: int) -> object:
        nonlocal opened
        stored = aggregator.store(batch, f"record {batch:08}")
        opened += 1
        return stored

    def closed() -> float | None:
        now = setting.open_fds()
        # A file whose writing has just failed is open, in its traceback, and not counted as opened.
        return None if now is None else max(0, opened - (now - before))

    yield Workload(store, {FILES_OPENED: lambda: opened, FILES_CLOSED: closed})


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof and /proc count."""
    return listing.open_files(run, setting.directory, "logfile")


def batches_are_written(subject: ModuleType, directory: Path) -> str | None:
    """Every record of a batch is in its file as soon as it is stored."""
    aggregator = subject.LogAggregator(directory)
    for batch, records in enumerate(("first", "", "naïve ☃")):
        size = aggregator.store(batch, records)
        stored = (directory / f"logfile_{batch}.txt").read_text(encoding="utf-8")
        if stored != records:
            return (
                f"logfile_{batch}.txt holds {stored!r} instead of {records!r}; write before closing"
            )
        if size is None:
            return "store returned None; return the number of bytes that are in the file"
        if size != len(records.encode()):
            return f"store returned {size} for {len(records.encode())} bytes; measure a closed file"
    return None


def recent_names_the_latest(subject: ModuleType, directory: Path) -> str | None:
    """The status page names the latest 20 batches, the oldest first."""
    aggregator = subject.LogAggregator(directory)
    for batch in range(subject.RECENT + 3):
        aggregator.store(batch, "record")
    wanted = [f"logfile_{batch}.txt" for batch in range(3, subject.RECENT + 3)]
    if aggregator.recent() == wanted:
        return _records_kept(aggregator)
    return (
        f"recent() gives {len(aggregator.recent())} names after {subject.RECENT + 3} batches, not "
        f"the latest {subject.RECENT} in order; keep the names, not the files"
    )


def _records_kept(aggregator: Any) -> str | None:  # noqa: ANN401 - of any copy
    """Say how much of what is in the files is in memory, too: a status page needs names."""
    batches = 4

    def store() -> None:
        for batch in range(batches):
            aggregator.store(batch, "x" * MEGABYTE)

    if (kept := kept_bytes(store) // MEGABYTE) == 0:
        return None
    return (
        f"after {batches} batches of 1 MB {kept} MB are still in memory; keep the names, not the "
        "records"
    )


def nothing_stays_open(subject: ModuleType, directory: Path) -> str | None:
    """A stored batch is closed at once, and not some batches later."""
    before = fds.count() or 0
    aggregator = subject.LogAggregator(directory)
    for batch in range(5):
        aggregator.store(batch, "record")
    still = (fds.count() or 0) - before
    return (
        f"{are(still, 'file')} open after 5 batches; close each before store returns"
        if still
        else None
    )


def a_failed_write_closes_too(subject: ModuleType, directory: Path) -> str | None:
    """A batch that cannot be written is an error for the caller, and its file is closed."""
    aggregator = subject.LogAggregator(directory)
    before, kept = fds.count() or 0, []
    for batch in range(3):
        try:
            aggregator.store(batch, "\ud800")  # a lone surrogate has no UTF-8 form
        except UnicodeEncodeError as error:
            kept.append(error)  # as an error report would, and with it the frames of the failure
    if len(kept) < 3:
        return "a batch that could not be written raised no error; let its caller see it"
    still = (fds.count() or 0) - before
    return (
        f"{are(still, 'file')} open after 3 batches that failed: close() was not reached; "
        "with closes on every path"
        if still
        else None
    )


EXERCISE = Exercise(
    task=(
        "The aggregator stores each batch of records in a file and lists the latest on a status "
        "page. After some hours in production it fails with: Too many open files."
    ),
    behaviours=(
        batches_are_written,
        recent_names_the_latest,
        nothing_stays_open,
        a_failed_write_closes_too,
    ),
)

LAB = Lab(
    name="file_leak",
    title="File descriptor leak",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(FILES_OPENED, FILES_CLOSED),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=50,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(FILES_OPENED),
        table.released_row(FILES_CLOSED, FILES_OPENED, "All closed"),
        table.MEMORY,
        table.RISK,
        table.view_row("Lsof Rows", "lsof_rows"),
        table.limit_row(None),
        table.limit_row(table.COMMON_LIMIT),
    ),
    views=views,
    commands=(
        "lsof -a -p {pid} -d ^mem | grep logfile | tail -3",
        'watch -n 1 "ls /proc/{pid}/fd | wc -l"',
        "curl http://localhost:{port}/debug/pprof/",
    ),
    hints=(
        "Run your copy and read the two lines below the warning: they name the line that opens the "
        "files, and the object that keeps them. `python -m labs.file_leak --mine`; --leaky runs it "
        "as it was given.",
        "LogAggregator._recent holds every file object ever opened. CPython closes a file when "
        "the last reference to it goes, and this one stays. What does the status page need?",
        "Write inside `with open(...) as file:`, so that the file is closed on every path, and let "
        "_recent hold the paths of the latest batches.",
    ),
    exercise=EXERCISE,
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.file_leak"))
