"""Lab 6: a packer's loop stands in one ExitStack. `python -m labs.exitstack_loop`."""

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType

from fixed import exitstack_loop as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.probes import fds
from leaky import exitstack_loop as leaky

from .kept import kept_bytes

FILES_PACKED = Gauge("app_files_packed_total", "Files packed", "Files packed")
ENOUGH = 2
"""So many files need to be open at a time: the archive, and the one that is read."""
LARGE_BYTES = 2**18


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Let one file come in per operation, and the packer's loop make one pass."""
    spool: deque[Path] = deque()
    packed = 0

    def incoming() -> Iterator[Path]:
        while spool:
            yield spool.popleft()

    with closing(subject.Packer(setting.directory / "archive").pack(incoming())) as passes:

        def make_pass(number: int) -> object:
            nonlocal packed
            spool.append(_written(setting.directory / f"part_{number}.txt", f"part {number:04}\n"))
            size = next(passes)
            packed += 1
            return size

        yield Workload(make_pass, {FILES_PACKED: lambda: packed})


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _parts(directory: Path, number: int) -> list[Path]:
    return [_written(directory / f"{each}.txt", f"{each}," * each) for each in range(number)]


def everything_is_packed(subject: ModuleType, directory: Path) -> str | None:
    """The archive holds each file, in order, and the sizes are theirs."""
    archive, parts = directory / "archive", _parts(directory, 12)
    sizes = list(subject.Packer(archive).pack(parts))
    wanted = b"".join(part.read_bytes() for part in parts)
    if (packed := archive.read_bytes()) != wanted:
        return f"the archive holds {len(packed)} of the {len(wanted)} bytes of 12 files in order"
    right = [part.stat().st_size for part in parts]
    return None if sizes == right else f"pack yielded {sizes}, not the sizes {right}"


def one_is_open_at_a_time(subject: ModuleType, directory: Path) -> str | None:
    """While it packs, the archive is open and at most one file besides."""
    parts, before, most = _parts(directory, 12), fds.count() or 0, 0

    def incoming() -> Iterator[Path]:
        nonlocal most
        for part in parts:
            yield part
            most = max(most, (fds.count() or 0) - before)

    for _ in subject.Packer(directory / "archive").pack(incoming()):
        most = max(most, (fds.count() or 0) - before)
    if most <= ENOUGH:
        return None
    return (
        f"{most} files were open at a time while 12 were packed, where {ENOUGH} are enough; "
        "close each in its own pass"
    )


def each_is_packed_as_it_comes(subject: ModuleType, directory: Path) -> str | None:
    """A file is packed before the next one is asked for."""
    asked = 0

    def incoming() -> Iterator[Path]:
        nonlocal asked
        for part in _parts(directory, 5):
            asked += 1
            yield part

    with closing(subject.Packer(directory / "archive").pack(incoming())) as passes:
        next(passes)
    return f"{asked} files were asked for before the first was packed" if asked > 1 else None


def what_is_packed_is_not_in_memory(subject: ModuleType, directory: Path) -> str | None:
    """What was packed is in the archive, and no longer in memory."""
    parts = [_written(directory / f"{each}.txt", "x" * LARGE_BYTES) for each in range(8)]
    with closing(subject.Packer(directory / "archive").pack(parts)) as passes:
        kept = kept_bytes(lambda: [next(passes) for _ in parts]) // LARGE_BYTES
    if kept <= ENOUGH:
        return None
    return f"{kept} of {len(parts)} files are in memory after they were packed; keep none"


def a_missing_file_is_an_error(subject: ModuleType, directory: Path) -> str | None:
    """A file that is not there is an error for the caller; what came before it is packed."""
    archive, parts, before = directory / "archive", _parts(directory, 3), fds.count() or 0
    try:
        list(subject.Packer(archive).pack([*parts, directory / "missing"]))
    except FileNotFoundError:
        if still := (fds.count() or 0) - before:
            return f"left open after a missing file: {still}; close on every path"
        return _unlike(archive, sum(part.stat().st_size for part in parts))
    return "a file that is not there raised no FileNotFoundError; let the caller see it"


def it_can_be_stopped(subject: ModuleType, directory: Path) -> str | None:
    """Whoever closes it early gets a whole archive, and nothing stays open."""
    archive, parts, before = directory / "archive", _parts(directory, 9), fds.count() or 0
    packer = subject.Packer(archive)
    with closing(packer.pack(parts)) as passes:
        wanted = sum(next(passes) for _ in range(5))
    if still := (fds.count() or 0) - before:
        return f"left open when it was closed early: {still}; close on that path too"
    return _unlike(archive, wanted)


def _unlike(archive: Path, wanted: int) -> str | None:
    packed = archive.stat().st_size
    if packed == wanted:
        return None
    return f"the archive holds {packed} of {wanted} bytes when packing has ended early; close it"


LAB = Lab(
    name="exitstack_loop",
    title="One ExitStack round a loop",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(FILES_PACKED,),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=25,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(FILES_PACKED),
        table.MEMORY,
        table.RISK,
        table.limit_row(None),
        table.limit_row(table.COMMON_LIMIT),
    ),
    commands=(
        "lsof -a -p {pid} -d ^mem | grep part_ | tail -3",
        "curl 'http://localhost:{port}/debug/pprof/fd?debug=1' | head -20",
    ),
    hints=(
        "Every file is opened in a context manager, and closed. Ask when: run it and count the "
        "open files while the loop goes on.",
        "The ExitStack of Packer.pack holds the exit of each file that it entered, until the "
        "with round the loop ends.",
        "Give each pass a `with open(path, 'rb') as part` of its own, and leave it before the "
        "yield. Only the archive lives as long as the loop.",
    ),
    exercise=Exercise(
        task=(
            "The packer appends files to an archive as they come in. After a thousand files it "
            "stops with: Too many open files. A look at the process afterwards finds none open."
        ),
        behaviours=(
            everything_is_packed,
            one_is_open_at_a_time,
            each_is_packed_as_it_comes,
            what_is_packed_is_not_in_memory,
            a_missing_file_is_an_error,
            it_can_be_stopped,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.exitstack_loop"))
