"""A temporary directory per run, gone when the run is."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UsageError

PREFIX = "leak-lab"


def base() -> Path:
    """Return the folder for temporary directories: TMPDIR, or /tmp where it is not set.

    `tempfile.gettempdir` would turn to another folder in silence when that one is not writable.
    """
    return Path(os.environ.get("TMPDIR") or "/tmp")


@contextmanager
def workdir() -> Iterator[Path]:
    """Make a directory named after this process for the body of the `with`, then remove it."""
    try:
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-{os.getpid()}-", dir=base()))
    except OSError as error:
        raise UsageError(
            f"cannot make a directory in {base()}: {error.strerror}; "
            "set TMPDIR to a folder that can be written to"
        ) from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep(pid: int) -> None:
    """Remove what a process of ours left that was killed before it could do so itself."""
    for path in base().glob(f"{PREFIX}-{pid}-*"):
        shutil.rmtree(path, ignore_errors=True)
