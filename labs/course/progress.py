"""What a learner has done: copies, hints and passed checks, kept in the folder `workbook`."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path

from harness import mine
from harness.errors import UsageError

FILE = mine.WORKBOOK / "progress.json"


@dataclass(frozen=True)
class Progress:
    """How many hints were shown for which labs, and which labs passed their check."""

    hints: Mapping[str, int] = field(default_factory=dict)
    passed: tuple[str, ...] = ()

    def with_hint(self, name: str, number: int) -> "Progress":
        """Return the progress after hint `number` (from 1) of a lab."""
        return replace(self, hints={**self.hints, name: max(number, self.hints.get(name, 0))})

    def with_pass(self, name: str) -> "Progress":
        """Return the progress after a lab passed."""
        return replace(self, passed=tuple(dict.fromkeys((*self.passed, name))))

    def without(self, name: str) -> "Progress":
        """Return the progress as if a lab had never been begun."""
        hints = {lab: shown for lab, shown in self.hints.items() if lab != name}
        return Progress(hints, tuple(lab for lab in self.passed if lab != name))


def load() -> tuple[Progress, str]:
    """Return the progress so far, and a sentence on what is wrong with its file, if something is.

    A damaged file is put aside, and progress begins anew.
    """
    try:
        return _parsed(FILE.read_text(encoding="utf-8")), ""
    except FileNotFoundError:
        return Progress(), ""
    except OSError as error:
        raise UsageError(f"{FILE}: {error.strerror}; is it yours to read?") from None
    except ValueError as error:
        aside = unused("progress.damaged", ".json")
        FILE.replace(aside)
        return Progress(), f"{FILE} was damaged ({error}); it is {aside} now, and a new one begins"


def _parsed(text: str) -> Progress:
    try:
        document = json.loads(text)
        hints = {str(name): int(number) for name, number in document["hints"].items()}
        return Progress(hints, tuple(str(name) for name in document["passed"]))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not what was written: {error}") from None


def unused(stem: str, suffix: str) -> Path:
    """Return a path in the workbook at which there is nothing yet."""
    names = (f"{stem}{number or ''}{suffix}" for number in count())
    return next(path for name in names if not (path := mine.WORKBOOK / name).exists())


def save(progress: Progress) -> None:
    """Write the progress, so that a crash leaves the old file or the new one."""
    write(FILE, json.dumps(asdict(progress), indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file of the workbook whole or not at all.

    Raises:
        UsageError: the folder cannot be written to.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}; go to a folder that you can write to"
        ) from None
