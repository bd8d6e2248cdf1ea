"""Example 1: a log aggregator leaks a file descriptor per file. `python -m labs.file_leak`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType

from fixed import file_leak as fixed
from harness import listing, table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Gauge, Lab, Run, Setting, View, Workload
from leaky import file_leak as leaky

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
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.file_leak"))
