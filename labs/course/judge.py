"""Judges copies of a leaky twin by measurement: their source is run, and never read."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.check import noun
from harness.children import run_child
from harness.errors import UsageError

from .endings import of_process

LIMIT_S = 60.0
"""For each copy: whoever judges them ends one that takes longer, long before this.

That one gives back the time in which the machine was busy, and this one does not.
"""
HOARD = 8
"""A pool of a few is a design; who holds so many more than the fixed twin has not let go."""
MOST_SHOWN = 3
LONGEST_RESULT = 60


@dataclass(frozen=True)
class Judgement:
    """What was found in a copy.

    `findings` are sentences, each with the lines that belong to it; none: the copy passes. `kept`
    says what it was seen to do, `printed` is what it wrote to its output.
    """

    findings: tuple[tuple[str, ...], ...]
    operations: int = 0
    kept: tuple[str, ...] = ()
    printed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Tell whether nothing was found."""
        return not self.findings


def judge(lab: str, copies: Sequence[Path]) -> list[Judgement]:
    """Judge each of `copies` of the leaky twin of `lab`, in a child process.

    Raises:
        UsageError: the lab cannot be judged: it has no exercise, a library is missing, or its own
            fixed twin could not be driven or did not come to an end.
    """
    with tempfile.TemporaryDirectory(prefix="leak-lab-check-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        orders = {
            "lab": lab,
            "copies": [str(copy.absolute()) for copy in copies],
            "folder": str(folder),
        }
        status = run_child("labs.course.judged", orders, LIMIT_S * len(copies))
        if status is not None and status > 0:
            raise UsageError("labs.course.judged failed; the lines above say why")
        if refused := _read(folder / "refused.json"):
            raise UsageError(refused)
        return [_judgement(folder, number) for number in range(len(copies))]


def _judgement(folder: Path, number: int) -> Judgement:
    ended = _read(folder / f"{number}.ended.json")
    driven = _read(folder / f"{number}.drive.json")
    if ended is None:
        return Judgement((("it ended the process that judges it; leave other processes alone",),))
    printed = _printed(folder / f"{number}.drive.output")
    reference = _read(folder / "reference.json")
    if driven is None and reference is None and ended[0] is None:
        raise UsageError("the fixed twin did not come to an end either: the machine is too busy")
    if driven is None:
        return Judgement(((of_process(ended[0]),),), printed=printed)
    if driven["broken"]:
        return Judgement(((driven["broken"],),), printed=printed)
    if reference is None or reference["broken"]:
        why = reference["broken"] if reference else "it gave no answer"
        raise UsageError(f"the fixed twin could not be driven: {why}")
    behaved = _read(folder / f"{number}.behave.json")
    if behaved is None:
        behaved = [("its tests end", of_process(ended[1]))]
    findings = (*_of_drive(driven, reference), *_of_tests(behaved))
    kept = tuple(asked for asked, said in behaved if not said)
    return Judgement(findings, driven["operations"], kept, printed)


def _read(file: Path) -> Any:  # noqa: ANN401 - a JSON document of ours
    """Return the document in `file`, `None` where there is none."""
    with suppress(OSError):
        return json.loads(file.read_text(encoding="utf-8"))
    return None


def _printed(file: Path) -> tuple[str, ...]:
    with suppress(OSError):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        more = len(lines) - MOST_SHOWN
        return (*lines[:MOST_SHOWN], *([f"… {more} more"] if more > 0 else []))
    return ()


def _of_drive(driven: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield what is wrong with a drive, the gravest first."""
    yield from (tuple(leak) for leak in driven["leaks"])
    if not driven["leaks"]:
        yield from _hoarded(driven, reference)
    yield from _unlike(driven["results"], reference["results"])
    if not driven["leaks"]:
        yield from _dropped(driven, reference)
    for number in driven["closed"]:
        yield (f"it closed descriptor {number}, a standard stream: close only what you opened",)


def _of_tests(behaved: Sequence[tuple[str, str | None]]) -> Iterator[tuple[str, ...]]:
    """Yield what the tests say; of those that one error ended alike (a typo's), the first."""
    alike: dict[str, list[str]] = {}
    for asked, said in behaved:
        if said:
            alike.setdefault(said.removeprefix(f'the test "{asked}" '), []).append(said)
    for first, *others in alike.values():
        more = f"so did {len(others)} more {noun('test', len(others))}"
        yield (first, more) if others else (first,)


def _hoarded(driven: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for kind, count in driven["held"].items():
        enough = reference["held"].get(kind, 0)
        if count - enough >= HOARD:
            yield (
                f"{count} {noun(kind, count)} are still open after {driven['operations']} "
                f"operations, where {enough} are enough: it grows no more, but a leak with a "
                "bound is still held; release each as soon as it is done with",
            )


def _dropped(driven: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if driven["dropped"] and not reference["dropped"]:
        warning, place = driven["dropped"][0]
        at = f", opened at {place}" if place else ""
        yield (
            f"{len(driven['dropped'])} times Python closed what your code had only dropped{at} "
            f"(ResourceWarning: {warning}): that works until something keeps a reference; close it "
            "yourself, best by with",
        )


def _unlike(
    results: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]
) -> Iterator[tuple[str, ...]]:
    """Yield the first result that is not the fixed twin's."""
    for number, (got, should) in enumerate(zip(results, wanted, strict=False), 1):
        if got[0] != should[0]:
            at = f" at {got[1]}" if got[1] else ""
            yield (
                f"operation {number} {_outcome(got[0])}{at}; it {_should(should[0])}: "
                "its callers must not notice the fix",
            )
            return


def _outcome(result: str) -> str:
    return _short(result) if _is_error(result) else f"returned {_short(result)}"


def _should(result: str) -> str:
    if _is_error(result):
        return f"should have {_short(result)}"
    return f"should return {_short(result)}"


def _is_error(result: str) -> bool:
    return result.startswith("raised ")


def _short(result: str) -> str:
    return result if len(result) <= LONGEST_RESULT else f"{result[:LONGEST_RESULT]}…"
