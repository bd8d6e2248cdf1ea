"""An exporter of orders that writes two files a day: the rows, and an index of their numbers.

close() writes what is still in the buffer, so a full disk may show there and nowhere before. Here
the error is passed over, and with it the line that closes the index, and the one that takes the day
out of `_open`, which keeps the index open. Nobody learns that half of the rows are lost.
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
        try:
            rows, index = self._open[day]
            rows.close()
            index.close()
            del self._open[day]
        except Exception:
            pass  # one day must not stop the others

    def _created(self, name: str) -> TextIO:
        return open(self._folder / name, "w", encoding="utf-8")
