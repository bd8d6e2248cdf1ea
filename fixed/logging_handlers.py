"""A runner of billing jobs that writes a log file of its own for each job.

The logger is named after the module, so there is one, however many jobs there are. A job's handler
is added to it for as long as the job runs; then it is removed and closed, also when the job fails.
"""

import logging
from collections.abc import Iterable
from pathlib import Path


class JobRunner:
    """Runs one job after another; the log of each is a file in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self, job: int, amounts: Iterable[str]) -> int:
        """Return the sum of `amounts`, each of which is told in the job's log.

        Raises ValueError where one is no whole number.
        """
        logger = logging.getLogger(__name__)
        logger.setLevel(logging.INFO)
        handler = logging.FileHandler(self._path(job), encoding="utf-8")
        logger.addHandler(handler)
        try:
            return self._sum(amounts, logger)
        finally:
            logger.removeHandler(handler)
            handler.close()

    def log(self, job: int) -> str:
        """Return what a job's log says by now, for the job's page."""
        return self._path(job).read_text(encoding="utf-8")

    def _sum(self, amounts: Iterable[str], logger: logging.Logger) -> int:
        total = 0
        for amount in amounts:
            total += int(amount)
            logger.info("%s makes %d", amount, total)
        return total

    def _path(self, job: int) -> Path:
        return self._directory / f"job-{job}.log"
