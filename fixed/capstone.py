"""A document intake: it stores what customers send in, adds up amounts and finds words.

The temporary file's descriptor gets an owner at once. `with` closes a bad document on its way out,
and what is remembered of it is the message. One pool of readers serves every search, and ends with
the service.
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
        self._readers = self._until_closed.enter_context(ThreadPoolExecutor(READERS))
        self._rejected: list[str] = []

    def receive(self, name: str, text: str) -> int:
        """Store a document, whole or not at all; return its size in bytes."""
        number, path = tempfile.mkstemp(dir=self._directory)
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
        return Path(path).replace(self._directory / name).stat().st_size

    def total(self, name: str) -> int:
        """Return the sum of a document's lines; remember and raise ValueError for a bad one."""
        try:
            with open(self._directory / name, encoding="utf-8") as file:
                return sum(int(line) for line in file)
        except ValueError as error:
            self._rejected.append(str(error))
            raise

    def rejected(self) -> list[str]:
        """Return what was wrong with documents so far, for the clerk."""
        return list(self._rejected)

    def find(self, word: str, names: Sequence[str]) -> list[str]:
        """Return which of the documents hold `word`; several are read at a time."""
        texts = self._readers.map(self._read, names)
        return [name for name, text in zip(names, texts, strict=True) if word in text]

    def close(self) -> None:
        """End the service."""
        self._until_closed.close()

    def _read(self, name: str) -> str:
        return (self._directory / name).read_text(encoding="utf-8")
