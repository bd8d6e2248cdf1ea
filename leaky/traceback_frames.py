"""A nightly batch that sums up reports, file by file, and lists in the morning what went wrong.

On success the file object goes with the frame that opened it. On failure the exception is kept in
`_failed`; it holds its traceback, that holds the frames, and they hold their variables: the file,
and all else that the job had at hand.
"""

from collections.abc import Callable
from pathlib import Path


class Batch:
    """Runs a job on many files; `amount` reads the figure in a line."""

    def __init__(self, amount: Callable[[str], int]) -> None:
        self._amount = amount
        self._failed: list[tuple[str, Exception]] = []

    def run(self, path: Path) -> int | None:
        """Return the sum of the figures in `path`; `None`: one is wrong, see `failures`."""
        try:
            return self._sum(path)
        except ValueError as error:
            self._failed.append((path.name, error))
            return None

    def failures(self) -> list[str]:
        """Return name and reason of each file that failed."""
        return [f"{name}: {error}" for name, error in self._failed]

    def _sum(self, path: Path) -> int:
        report = open(path, encoding="utf-8")
        return sum(self._amount(line) for line in report)
