"""A document intake: it stores what customers send in, adds up amounts and finds words.

Three of its paths leak, each in a way of its own: a number that nobody owns, an object whose owner
only lets go at the end of the service, and a file in the frame of an error that is remembered.
Which request uses which path is for you to find out.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

READERS = 2


class Intake:
    """Keeps documents in `directory`, until it is closed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._until_closed = ExitStack()
        self._rejected: list[ValueError] = []

    def receive(self, name: str, text: str) -> int:
        """Store a document, whole or not at all; return its size in bytes."""
        _, path = tempfile.mkstemp(dir=self._directory)
        Path(path).write_text(text, encoding="utf-8")
        return Path(path).replace(self._directory / name).stat().st_size

    def total(self, name: str) -> int:
        """Return the sum of a document's lines; remember and raise ValueError for a bad one."""
        try:
            file = open(self._directory / name, encoding="utf-8")
            return sum(int(line) for line in file)
        except ValueError as error:
            self._rejected.append(error)
            raise

    def rejected(self) -> list[str]:
        """Return what was wrong with documents so far, for the clerk."""
        return [str(error) for error in self._rejected]

    def find(self, word: str, names: Sequence[str]) -> list[str]:
        """Return which of the documents hold `word`; several are read at a time."""
        pool = self._until_closed.enter_context(ThreadPoolExecutor(READERS))
        texts = pool.map(self._read, names)
        return [name for name, text in zip(names, texts, strict=True) if word in text]

    def close(self) -> None:
        """End the service."""
        self._until_closed.close()

    def _read(self, name: str) -> str:
        return (self._directory / name).read_text(encoding="utf-8")
