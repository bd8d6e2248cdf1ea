"""Lab 8: an import queue keeps suspended generators. `python -m labs.generator_peek`."""

import random
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from fixed import generator_peek as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.probes import fds
from leaky import generator_peek as leaky

from .words import are

FILES_QUEUED = Gauge("app_files_queued_total", "Files queued", "Files queued")
COLUMNS = ["id", "amount"]
HEADER = ",".join(COLUMNS)
LARGE = 20_000
"""So many rows have no place in memory while their file waits."""
ROOM_BYTES = 200_000
"""What a file that waits may take: buffers, and not its rows."""


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Take in one file per operation; the import at the end empties the queue."""
    queue = subject.ImportQueue(COLUMNS)
    queued = 0

    def accept(number: int) -> object:
        nonlocal queued
        path = _written(setting.directory / f"import_{number}.csv", [f"{number},1"])
        waiting = queue.accept(path)
        queued += 1
        return waiting

    try:
        yield Workload(accept, {FILES_QUEUED: lambda: queued})
    finally:
        queue.import_all()


def _written(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return path


def rows_are_imported(subject: ModuleType, directory: Path) -> str | None:
    """Each row of each file is imported once, in order and without the headers."""
    queue, wanted = subject.ImportQueue(COLUMNS), []
    for number, amounts in enumerate((["naïve ☃", "10"], [], ["20"], ["30"], ["40"], ["50"])):
        queue.accept(
            _written(directory / f"{number}.csv", [f"{number},{amount}" for amount in amounts])
        )
        wanted += [[str(number), amount] for amount in amounts]
    if (got := queue.import_all()) != wanted:
        return f"import_all gave {got} for 6 files with the rows {wanted}"
    again = queue.import_all()
    return f"a second import_all gave {again}; what is imported waits no more" if again else None


def what_waits_is_closed(subject: ModuleType, directory: Path) -> str | None:
    """A file that waits to be imported is not open."""
    before, queue = fds.count() or 0, subject.ImportQueue(COLUMNS)
    for number in range(5):
        queue.accept(_written(directory / f"{number}.csv", ["1,10"]))
    still = (fds.count() or 0) - before
    return f"{are(still, 'file')} open while 5 wait; keep what opens them again" if still else None


def what_waits_is_not_in_memory(subject: ModuleType, directory: Path) -> str | None:
    """The rows of a file that waits are not in memory."""
    numbers = random.Random(LARGE)  # so that packing them would not make them small
    rows = [f"{numbers.randbytes(24).hex()},1" for _ in range(LARGE)]
    path = _written(directory / "large.csv", rows)
    queue = subject.ImportQueue(COLUMNS)
    tracemalloc.start()
    queue.accept(path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if kept <= ROOM_BYTES:
        return None
    return f"a file of {LARGE} rows takes {kept / 1e6:.1f} MB while it waits; read the rest later"


def other_columns_are_refused(subject: ModuleType, directory: Path) -> str | None:
    """A file with other columns, or none, is refused: an error, no row of it, and it is closed."""
    before, kept, queue = fds.count() or 0, [], subject.ImportQueue(COLUMNS)
    for header in ("id,amount,tax", "amount,id", ""):
        try:
            queue.accept(_written(directory / f"{header}.csv", ["1,2"], header))
        except ValueError as error:
            kept.append(error)  # as a report would, and with it the frames of the failure
        else:
            return f"a file with the columns {header!r} was taken in; raise the ValueError"
    if got := queue.import_all():
        return f"3 files were refused and import_all gave {got}; check before you queue"
    still = (fds.count() or 0) - before
    return f"{still} of 3 refused files are open; close on that path too" if still else None


def a_broken_file_is_an_error(subject: ModuleType, directory: Path) -> str | None:
    """A file that cannot be read is an error for whoever imports, and is closed."""
    before, queue, path = fds.count() or 0, subject.ImportQueue(COLUMNS), directory / "broken.csv"
    path.write_bytes(HEADER.encode() + b"\n" + b"1,1\n" * 10_000 + b"2,\xff\n")
    try:
        queue.accept(path)
        got = queue.import_all()
    except UnicodeDecodeError:
        still = (fds.count() or 0) - before
        return "the file that broke the import is open; close it then too" if still else None
    return f"import_all gave {len(got)} rows of a broken file; let its caller see the error"


LAB = Lab(
    name="generator_peek",
    title="Generators that wait",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(FILES_QUEUED,),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=25,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(FILES_QUEUED),
        table.MEMORY,
        table.RISK,
        table.limit_row(None),
        table.limit_row(table.COMMON_LIMIT),
    ),
    commands=(
        "lsof -a -p {pid} -d ^mem | grep import_ | tail -3",
        "curl 'http://localhost:{port}/debug/pprof/fd?debug=1' | head -20",
    ),
    hints=(
        "The file stands in a `with`. Run it and read below the warning: which object is between "
        "the queue and the file?",
        "ImportQueue._waiting holds a generator for each file. One that waits at its yield has "
        "not left the with around it.",
        "End the generator as soon as you have the first line, also when you refuse the file: "
        "`with closing(rows(path)) as found`. What has to wait is the path.",
    ),
    exercise=Exercise(
        task=(
            "The queue takes in files all day, after a look at their first line, and imports them "
            "at night. On busy days it fails before the evening: Too many open files."
        ),
        behaviours=(
            rows_are_imported,
            what_waits_is_closed,
            what_waits_is_not_in_memory,
            other_columns_are_refused,
            a_broken_file_is_an_error,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.generator_peek"))
