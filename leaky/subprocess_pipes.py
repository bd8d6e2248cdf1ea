"""A checker that gives documents to a command, and reports on those that it rejects.

A child that has ended stays a zombie until its parent asks for its exit status, and its pipes stay
open at the parent's end. Python closes them as the `Popen` object is dropped; here `_checked` keeps
each one, because the report asks for the exit statuses once a day.
"""

from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO


class Checker:
    """Runs `command` with each document as its input; it fails if the document is not good."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._checked: list[tuple[str, Popen[str]]] = []

    def check(self, path: Path) -> tuple[str, str]:
        """Return what the command writes on the document at `path`: its output, its errors."""
        with path.open("rb") as file:
            process = Popen(self._command, stdin=file, stdout=PIPE, stderr=PIPE, encoding="utf-8")
        self._checked.append((path.name, process))
        return _text(process.stdout), _text(process.stderr)

    def rejected(self) -> list[str]:
        """Return the names of the documents that were not good, in the order of their checks."""
        return [name for name, process in self._checked if process.wait()]


def _text(pipe: IO[str] | None) -> str:
    return pipe.read() if pipe else ""
