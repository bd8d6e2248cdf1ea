"""An importer of CSV files, which its callers read in portions: begin, rows, rows, finish.

While `begin` may still raise, the file belongs to an `ExitStack`, which closes it then. Only when
nothing can fail any more is it handed over: `_uploads` has it, and `pop_all` lets go of it.
"""

from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TextIO


class BadUpload(Exception):
    """A file lacks columns; the message names them."""


class Importer:
    """Imports files that have all of `columns`, several at a time."""

    def __init__(self, columns: set[str]) -> None:
        self._columns = columns
        self._uploads: dict[int, TextIO] = {}

    def begin(self, upload: int, path: Path) -> None:
        """Begin to import `path`; raise BadUpload where its header lacks a column."""
        with ExitStack() as stack:
            file = stack.enter_context(open(path, encoding="utf-8"))
            self._check_header(file)
            self._uploads[upload] = file
            stack.pop_all()

    def rows(self, upload: int, most: int) -> list[str]:
        """Return up to `most` further rows of an upload that has begun."""
        return [line.strip() for line in islice(self._uploads[upload], most)]

    def finish(self, upload: int) -> None:
        """End an upload that has begun."""
        self._uploads.pop(upload).close()

    def _check_header(self, file: TextIO) -> None:
        if missing := self._columns - set(file.readline().strip().split(",")):
            raise BadUpload(f"no column {', '.join(sorted(missing))}")
