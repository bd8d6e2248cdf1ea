"""A log aggregator that writes each batch of records to a file of its own.

The status page needs the names of the files, not the files: `with` closes each one as soon as it
is written, also when writing fails, and `_recent` keeps the paths of the latest.
"""

from collections import deque
from pathlib import Path

RECENT = 20


class LogAggregator:
    """Stores batches of log records in `directory`, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._recent: deque[Path] = deque(maxlen=RECENT)

    def store(self, batch: int, records: str) -> int:
        """Write `records` as batch number `batch`; return the number of bytes stored."""
        path = self._directory / f"logfile_{batch}.txt"
        with open(path, "w", encoding="utf-8") as file:
            file.write(records)
        self._recent.append(path)
        return path.stat().st_size

    def recent(self) -> list[str]:
        """Return the names of the latest files, for the status page."""
        return [path.name for path in self._recent]
