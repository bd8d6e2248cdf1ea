"""A checker that gives documents to a command, and reports on those that it rejects.

`communicate` reads both pipes at the same time and waits for the child's end; `with` closes the
pipes and waits on every other path. What the report needs is the name of the document.
"""

from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE, Popen


class Checker:
    """Runs `command` with each document as its input; it fails if the document is not good."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._rejected: list[str] = []

    def check(self, path: Path) -> tuple[str, str]:
        """Return what the command writes on the document at `path`: its output, its errors."""
        with path.open("rb") as file:
            process = Popen(self._command, stdin=file, stdout=PIPE, stderr=PIPE, encoding="utf-8")
        with process:
            output, errors = process.communicate()
        if process.returncode:
            self._rejected.append(path.name)
        return output, errors

    def rejected(self) -> list[str]:
        """Return the names of the documents that were not good, in the order of their checks."""
        return list(self._rejected)
