"""An exporter of orders that writes two files a day: the rows, and an index of their numbers.

The day leaves `_open` first, and `finally` closes the index whatever the rows' close says. What it
says goes on to the caller. A file whose close fails has given up its descriptor all the same.
"""

from pathlib import Path
from typing import TextIO


class Exporter:
    """Exports orders to `folder`: those of a day to DAY.csv, their numbers to DAY.index."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tuple[TextIO, TextIO]] = {}

    def add(self, day: str, number: int, order: str) -> int:
        """Add an order to its day's files; return the length of its row."""
        if day not in self._open:
            self._open[day] = self._created(f"{day}.csv"), self._created(f"{day}.index")
        rows, index = self._open[day]
        index.write(f"{number}\n")
        return rows.write(f"{number},{order}\n")

    def finish(self, day: str) -> None:
        """Close a day's files. Raises OSError: one of them could not be written to its end."""
        rows, index = self._open.pop(day)
        try:
            rows.close()
        finally:
            index.close()

    def _created(self, name: str) -> TextIO:
        return open(self._folder / name, "w", encoding="utf-8")
