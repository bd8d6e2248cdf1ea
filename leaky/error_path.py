"""An importer of CSV files, which its callers read in portions: begin, rows, rows, finish.

`begin` puts the open file into `_uploads`, and then looks at its header. Where that raises, the
caller has no upload to finish and goes away, and the registry keeps the file for good.
"""

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
        file = open(path, encoding="utf-8")
        self._uploads[upload] = file
        self._check_header(file)

    def rows(self, upload: int, most: int) -> list[str]:
        """Return up to `most` further rows of an upload that has begun."""
        return [line.strip() for line in islice(self._uploads[upload], most)]

    def finish(self, upload: int) -> None:
        """End an upload that has begun."""
        self._uploads.pop(upload).close()

    def _check_header(self, file: TextIO) -> None:
        if missing := self._columns - set(file.readline().strip().split(",")):
            raise BadUpload(f"no column {', '.join(sorted(missing))}")
