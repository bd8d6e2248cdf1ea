"""A runner of billing jobs that writes a log file of its own for each job.

CPython would close the file of a handler that nobody refers to. But `logging.getLogger` keeps every
logger it ever made in a registry of the whole process, and a logger keeps its handlers: one that is
named after a job keeps that job's file open for as long as the process lives.
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
        logger = logging.getLogger(f"billing-{job}")
        logger.setLevel(logging.INFO)
        logger.addHandler(logging.FileHandler(self._path(job), encoding="utf-8"))
        return self._sum(amounts, logger)

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
