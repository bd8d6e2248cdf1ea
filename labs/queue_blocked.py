"""Lab 12: an upload's thread waits for a chunk more. `python -m labs.queue_blocked`."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

from fixed import queue_blocked as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS, THREADS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.patience import Patience
from harness.probes import fds
from leaky import queue_blocked as leaky

from .started import Started

UPLOADS = Gauge("app_uploads_finished_total", "Uploads finished", "Uploads finished")
PATIENCE_S = 0.5
PAUSE_S = 0.1
"""So long does a slow sender send nothing."""
MEGABYTE = b"x" * 2**20
"""More than any buffer between `write` and the disk holds."""


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Store one upload per operation; at the end aborting each ends the threads that are left."""
    uploads: WeakSet[leaky.Upload] = WeakSet()
    finished = 0

    def store(number: int) -> object:
        nonlocal finished
        chunks = [f"part {part} of {number}".encode() for part in range(3)]
        upload = subject.Upload(setting.directory / f"upload_{number}", len(b"".join(chunks)))
        uploads.add(upload)
        stored = _sent(upload, chunks)
        finished += 1
        return stored

    try:
        yield Workload(store, {UPLOADS: lambda: finished})
    finally:
        for upload in list(uploads):
            upload.abort()


def _sent(upload: Any, chunks: Sequence[bytes], pause_s: float = 0) -> int:  # noqa: ANN401
    """Send an upload's chunks, with a pause before each, and finish it."""
    for chunk in chunks:
        time.sleep(pause_s)
        upload.add(chunk)
    size: int = upload.finish()
    return size


def _soon(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds; return whether it did in time."""
    return Patience(PATIENCE_S).until(condition)


def nothing_is_left(subject: ModuleType, directory: Path) -> str | None:
    """A finished upload has no thread, and its file is closed."""
    started, files = Started(), fds.count() or 0
    for number in range(5):
        _sent(subject.Upload(directory / str(number), 5), [b"chunk"])
    if _soon(lambda: not started.count() and (fds.count() or 0) <= files):
        return None
    return (
        f"5 finished uploads have {started.count()} threads and "
        f"{(fds.count() or 0) - files} files open; let each thread know that no more will come"
    )


def an_upload_is_stored_whole(subject: ModuleType, directory: Path) -> str | None:
    """When finish returns, all chunks are in the file."""
    path, chunks = directory / "whole", [b"first", b"", *[MEGABYTE] * 8, b"last"]
    whole = b"".join(chunks)
    size = _sent(subject.Upload(path, len(whole)), chunks)
    stored = path.read_bytes() if path.exists() else b""
    if stored == whole and size == len(whole):
        return None
    return (
        f"finish returned {size} and {len(stored)} bytes were in the file, of {len(whole)} that "
        "were added; wait until all are written, and leave them there"
    )


def an_empty_upload_is_stored(subject: ModuleType, directory: Path) -> str | None:
    """An upload of no bytes is stored like any other, and ends."""
    path, outcome = directory / "empty", Future[int]()
    upload = subject.Upload(path, 0)
    threading.Thread(target=lambda: outcome.set_result(upload.finish()), daemon=True).start()
    if not Patience(2 * PAUSE_S).until(outcome.done):
        return "finish of an upload of 0 bytes hangs: no chunk will come; look before you wait"
    if outcome.result() == 0 and path.exists():
        return None
    return f"finish returned {outcome.result()} for an upload of 0 bytes; its file must be there"


def a_slow_sender_is_waited_for(subject: ModuleType, directory: Path) -> str | None:
    """A sender may pause before a chunk."""
    path = directory / "slow"
    _sent(subject.Upload(path, 11), [b"before", b"after"], PAUSE_S)
    stored = path.read_bytes()
    if stored == b"beforeafter":
        return None
    return f"of what was sent before and after a pause only {stored!r} is stored; wait for the rest"


def chunks_are_written_as_they_come(subject: ModuleType, directory: Path) -> str | None:
    """What has been added is in the file before the upload is finished."""
    path = directory / "large"
    upload = subject.Upload(path, len(MEGABYTE) + 1)
    upload.add(MEGABYTE)
    written = _soon(lambda: path.exists() and path.stat().st_size == len(MEGABYTE))
    _sent(upload, [b"."])
    if written:
        return None
    return "a megabyte was added and is not in the file; write it as it comes, not all at the end"


def only_finish_waits_for_the_disk(subject: ModuleType, directory: Path) -> str | None:
    """However slow the disk is, add returns at once, and finish when all is written."""
    path = directory / "pipe"  # opening it to write waits for a reader: the slowest of all disks
    os.mkfifo(path)
    upload = subject.Upload(path, 5)
    upload.add(b"chunk")
    finishing = threading.Thread(target=upload.finish, daemon=True)
    finishing.start()
    waits = not Patience(2 * PAUSE_S).until(lambda: not finishing.is_alive())
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    finishing.join()
    os.close(reader)
    return None if waits else "finish returned before anything was written; wait for the thread"


def an_aborted_upload_is_gone(subject: ModuleType, directory: Path) -> str | None:
    """When abort returns, the file is removed."""
    path = directory / "aborted"
    upload = subject.Upload(path, 100)
    upload.add(b"chunk")
    upload.abort()
    return "an aborted upload's file is there; remove it" if path.exists() else None


def failures_reach_the_sender(subject: ModuleType, directory: Path) -> str | None:
    """finish raises the OSError of an upload that cannot be stored."""
    try:
        got = _sent(subject.Upload(directory / "missing" / "upload", 5), [b"chunk"])
    except OSError:
        return None
    return f"finish returned {got} for an upload into a folder that is not there; let the error out"


LAB = Lab(
    name="queue_blocked",
    title="Threads blocked on a queue",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(THREADS, UPLOADS),
    judged=(OPEN_FDS, THREADS),
    warning="File descriptor and thread leak detected!",
    all_clear="File descriptors and threads stable",
    rate_hz=20,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(THREADS),
        table.gauge_row(UPLOADS),
        table.MEMORY,
        table.RISK,
        table.limit_row(table.COMMON_LIMIT),
    ),
    commands=(
        "lsof -a -p {pid} -d ^mem | grep upload_ | tail -3",
        "curl 'http://localhost:{port}/debug/pprof/goroutine?debug=2' | grep -A6 'chan receive'",
    ),
    hints=(
        "Descriptors grow, and threads as fast. Look at the threads: while --leaky runs, "
        "http://localhost:6060/debug/pprof/goroutine?debug=2 (with --mine: port 6062) shows in "
        "which line of yours each of them waits, and for what.",
        "Nobody holds a finished upload but its thread: _write waits in Queue.get for one chunk "
        "more than there are, inside the `with` block, and its stack holds the file.",
        "Let _write leave its loop when `left` is 0, or send it the end marker (None) that abort "
        "sends; and let finish wait for the thread's end (join).",
    ),
    exercise=Exercise(
        task=(
            "Uploads are written by a thread of their own, so that senders do not wait for the "
            "disk. All are stored whole, and after a thousand the service cannot open files."
        ),
        behaviours=(
            nothing_is_left,
            an_upload_is_stored_whole,
            chunks_are_written_as_they_come,
            an_aborted_upload_is_gone,
            failures_reach_the_sender,
            a_slow_sender_is_waited_for,
            only_finish_waits_for_the_disk,
            an_empty_upload_is_stored,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.queue_blocked"))
