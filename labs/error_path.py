"""Lab 4: an importer keeps the files that it refuses. `python -m labs.error_path`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import error_path as fixed
from harness import listing, table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Run, Setting, View, Workload
from harness.probes import fds
from leaky import error_path as leaky

DONE = Gauge("app_uploads_done_total", "Done", "Uploads done")
REFUSED = Gauge("app_uploads_refused_total", "Refused", "Uploads refused")
COLUMNS = {"id", "name"}
GOOD = "id,name\n1,Ada\n2,Grace\n3,Edsger\n"
BAD = "number,name\n1,Ada\n"
EVERY_BAD = 4
"""One in so many uploads is bad."""


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Import one file per operation, every fourth of them without a column that it needs."""
    importer = subject.Importer(COLUMNS)
    good, bad = _written(setting.directory, upload_good=GOOD, upload_bad=BAD)
    done = refused = 0

    def load(number: int) -> object:
        nonlocal done, refused
        try:
            importer.begin(number, bad if number % EVERY_BAD == EVERY_BAD - 1 else good)
        except subject.BadUpload as error:
            refused += 1
            return str(error)
        rows = importer.rows(number, 10)
        importer.finish(number)
        done += 1
        return rows

    try:
        yield Workload(load, {DONE: lambda: done, REFUSED: lambda: refused})
    finally:
        for number in range(done + refused):
            with suppress(Exception):  # of any copy
                importer.finish(number)


def _written(directory: Path, **texts: str) -> list[Path]:
    """Write each text into a file of its name; return the files' paths."""
    paths = {directory / f"{name}.csv": text for name, text in texts.items()}
    for path, text in paths.items():
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return list(paths)


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof and /proc count."""
    return listing.open_files(run, setting.directory, "upload")


def rows_come_in_portions(subject: ModuleType, directory: Path) -> str | None:
    """The rows of an upload come in order, as many as were asked for, each once."""
    importer, [path] = subject.Importer(COLUMNS), _written(directory, good=GOOD)
    importer.begin(1, path)
    got = [importer.rows(1, most) for most in (2, 2, 2)]
    importer.finish(1)
    if got == [["1,Ada", "2,Grace"], ["3,Edsger"], []]:
        return None
    return f"three times rows(1, 2) gave {got} of 3 rows; keep the upload open until finish"


def rows_are_read_when_asked_for(subject: ModuleType, directory: Path) -> str | None:
    """A row is read when it is asked for: an upload need not fit into memory."""
    importer, [path] = subject.Importer(COLUMNS), _written(directory, good=GOOD)
    importer.begin(1, path)
    importer.rows(1, 3)
    with path.open("a", encoding="utf-8") as file:
        file.write("4,Barbara\n")
    got = importer.rows(1, 3)
    importer.finish(1)
    if got == ["4,Barbara"]:
        return None
    return f"a row that came after begin was read as {got}; read from the file, portion by portion"


def bad_files_are_refused(subject: ModuleType, directory: Path) -> str | None:
    """A file without a column raises BadUpload, one that is no text UnicodeDecodeError."""
    importer = subject.Importer(COLUMNS)
    bad, empty, binary = _written(directory, bad=BAD, empty="", binary="\udcff\udcfe\n")
    for path, wanted in ((bad, "no column id"), (empty, "no column id, name")):
        try:
            importer.begin(1, path)
        except subject.BadUpload as error:
            if str(error) == wanted:
                continue
            return f"begin says {str(error)!r} of {path.name}; it should say {wanted!r}"
        return f"begin raised no BadUpload for {path.name}; let its caller see the error"
    try:
        importer.begin(1, binary)
    except UnicodeDecodeError:
        return None
    return "begin raised no UnicodeDecodeError for binary.csv; let its caller see the error"


def a_refused_file_is_closed(subject: ModuleType, directory: Path) -> str | None:
    """When begin raises, whatever it raises, the file is closed."""
    importer = subject.Importer(COLUMNS)
    paths = _written(directory, bad=BAD, empty="", binary="\udcff\udcfe\n")
    kept, still = [], []
    for number, path in enumerate(paths):
        before = fds.count() or 0
        try:
            importer.begin(number, path)
        except (subject.BadUpload, UnicodeDecodeError) as error:
            kept.append(error)  # as an error report would, and with it the frames of the failure
        if (fds.count() or 0) > before:
            still.append(path.name)
    if not still or len(kept) < len(paths):
        return None
    return (
        f"refused, and still open: {', '.join(still)}; close on every way out of begin but the "
        "good one"
    )


def a_refused_upload_has_not_begun(subject: ModuleType, directory: Path) -> str | None:
    """A refused upload is unknown, and the others go on."""
    importer = subject.Importer(COLUMNS)
    good, bad = _written(directory, good=GOOD, bad=BAD)
    importer.begin(1, good)
    with suppress(subject.BadUpload):
        importer.begin(2, bad)
    if importer.rows(1, 1) != ["1,Ada"]:
        return "upload 1 gives no row after upload 2 was refused; touch no other's file"
    importer.finish(1)
    return _unknown(importer, 2) or _begins_again(importer, 2, good)


def _unknown(importer: Any, upload: int) -> str | None:  # noqa: ANN401 - of any copy
    try:
        outcome = f"gave {importer.rows(upload, 1)}"
    except KeyError:
        return None
    except ValueError as error:
        outcome = f"raised ValueError: {error}"
    return f"rows of an upload that was refused {outcome}; nobody may find it in the registry"


def _begins_again(importer: Any, upload: int, good: Path) -> str | None:  # noqa: ANN401
    importer.begin(upload, good)
    rows = importer.rows(upload, 1)
    importer.finish(upload)
    return None if rows == ["1,Ada"] else f"a refused upload, mended and begun again, gave {rows}"


LAB = Lab(
    name="error_path",
    title="Refused, and still open",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(DONE, REFUSED),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=50,
    descriptors_per_operation=1 / EVERY_BAD,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(DONE),
        table.gauge_row(REFUSED),
        table.MEMORY,
        table.RISK,
        table.limit_row(None),
        table.limit_row(table.COMMON_LIMIT),
    ),
    views=views,
    commands=(
        "lsof -a -p {pid} -d ^mem | grep upload | tail -3",
        "curl http://localhost:{port}/debug/pprof/",
    ),
    hints=(
        "Compare the open files with the uploads: those that are done leave nothing. Which ones "
        "do?",
        "Importer._uploads holds the file of each refused upload. Its caller got an error instead "
        "of an upload, so nobody will call finish for it.",
        "Until nothing can fail any more the file belongs to begin: an `ExitStack` closes it where "
        "something raises; then put it into _uploads and let go of it with `pop_all()`.",
    ),
    exercise=Exercise(
        task=(
            "The importer reads CSV files in portions, and refuses those without the columns that "
            "it needs. On the day a customer sends the wrong export again and again, it dies of: "
            "Too many open files."
        ),
        behaviours=(
            rows_come_in_portions,
            rows_are_read_when_asked_for,
            bad_files_are_refused,
            a_refused_file_is_closed,
            a_refused_upload_has_not_begun,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.error_path"))
