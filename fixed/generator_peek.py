"""An import queue that looks at a file's first line when it comes in, and reads the rest at night.

`closing` ends the generator, and with it the `with` that it is in, as soon as the first line is
known. What waits in `_waiting` is the path: the import opens the file again, and a generator that
is read to its end leaves its `with` by itself.
"""

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path


def rows(path: Path) -> Generator[list[str], None, None]:
    """Yield the cells of each line of the file at `path`."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n").split(",")


class ImportQueue:
    """Takes in files that have all the same `columns`, and imports them together."""

    def __init__(self, columns: list[str]) -> None:
        self._columns = columns
        self._waiting: list[Path] = []

    def accept(self, path: Path) -> int:
        """Queue the file at `path`; return how many wait. Raises ValueError: other columns."""
        with closing(rows(path)) as found:
            columns = next(found, [])
        if columns != self._columns:
            raise ValueError(f"{path.name} has the columns {columns}, not {self._columns}")
        self._waiting.append(path)
        return len(self._waiting)

    def import_all(self) -> list[list[str]]:
        """Return the rows of the files that wait, in the order they came in; then none waits."""
        waiting, self._waiting = self._waiting, []
        return [row for path in waiting for row in islice(rows(path), 1, None)]
