"""An import queue that looks at a file's first line when it comes in, and reads the rest at night.

A generator that is dropped is closed at once, and so is its file. Here each is kept in `_waiting`,
to go on behind the header: it is suspended at its `yield`, inside its `with`, and so its file is
open for as long as it waits.
"""

from collections.abc import Generator
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
        self._waiting: list[Generator[list[str], None, None]] = []

    def accept(self, path: Path) -> int:
        """Queue the file at `path`; return how many wait. Raises ValueError: other columns."""
        found = rows(path)
        columns = next(found, [])
        if columns != self._columns:
            raise ValueError(f"{path.name} has the columns {columns}, not {self._columns}")
        self._waiting.append(found)
        return len(self._waiting)

    def import_all(self) -> list[list[str]]:
        """Return the rows of the files that wait, in the order they came in; then none waits."""
        waiting, self._waiting = self._waiting, []
        return [row for found in waiting for row in found]
