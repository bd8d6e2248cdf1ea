"""A log aggregator that writes each batch of records to a file of its own.

CPython closes a file by itself when the last reference to it goes, so forgetting `close()` in a
function leaks nothing. Here the last reference stays: every batch's file object is kept in
`_recent`, for a status page, and a list that only grows keeps all of them open.
"""

from pathlib import Path
from typing import TextIO

RECENT = 20


class LogAggregator:
    """Stores batches of log records in `directory`, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._recent: list[TextIO] = []

    def store(self, batch: int, records: str) -> int:
        """Write `records` as batch number `batch`; return the number of bytes stored."""
        path = self._directory / f"logfile_{batch}.txt"
        file = open(path, "w", encoding="utf-8")
        file.write(records)
        file.flush()
        self._recent.append(file)
        return path.stat().st_size

    def recent(self) -> list[str]:
        """Return the names of the latest files, for the status page."""
        return [Path(file.name).name for file in self._recent[-RECENT:]]
