"""Holds every lab to its contract: its check tells the leak, the fix and the wrong fixes apart."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.command import DONE, FOUND
from harness.errors import UsageError
from harness.model import Lab
from harness.progress import working
from harness.terminal import Terminal

from . import catalogue
from .judge import Judgement, judge

FEWEST_WRONG_FIXES = 6
HINTS = 3
SHORTEST_CHAPTER = 20
"""Lines of the guide."""
WRONG_FIXES = Path("tests", "wrong_fixes")
_SAYS = re.compile(r"^Says: (.+)$", re.M)


@dataclass(frozen=True)
class WrongFix:
    """A tempting fix that is none, as a patch, and a pattern that its verdict must match."""

    patch: Path
    says: str


def verify(names: Sequence[str], terminal: Terminal) -> int:
    """Write a line on each lab on the terminal; return 0 if all keep their contract, else 1."""
    if not (catalogue.ROOT / WRONG_FIXES).is_dir():
        raise UsageError(f"{catalogue.ROOT / WRONG_FIXES}: not there; verify needs a checkout")
    for name in names:
        catalogue.checked(name)
    all_hold = True
    with (
        working(terminal, "Verifying", len(names)) as done,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for name, problems in zip(names, pool.map(problems_of, names), strict=True):
            all_hold = all_hold and not problems
            done(_lines(name, problems))
    return DONE if all_hold else FOUND


def _lines(name: str, problems: Sequence[str]) -> Iterator[str]:
    if problems:
        yield f"✗ {name}:"
        yield from (f"    {problem}" for problem in problems)
    else:
        fixes = len(wrong_fixes(name))
        yield f"✓ {name}: starter fails, fix passes, {fixes} wrong fixes fail and are explained"


def problems_of(name: str) -> list[str]:
    """Return a sentence for each thing in which a lab breaks its contract."""
    try:
        lab = catalogue.load(name)
        return [*_of_texts(lab), *_of_judgements(name)]
    except UsageError as error:
        return [str(error)]


def _of_texts(lab: Lab) -> Iterator[str]:
    if lab.exercise is None or not lab.exercise.task.strip():
        yield f"labs/{lab.name}.py: no exercise with a task"
    if len(lab.hints) != HINTS or not all(hint.strip() for hint in lab.hints):
        yield f"labs/{lab.name}.py: {len(lab.hints)} hints instead of {HINTS} that say something"
    if len(chapter(lab.name)) < SHORTEST_CHAPTER:
        yield f"GUIDE.md: no chapter `### Lab N: {lab.name}` of {SHORTEST_CHAPTER} lines or more"


def chapter(name: str) -> list[str]:
    """Return the lines of a lab's chapter in the guide, none where there is none."""
    text = catalogue.GUIDE.read_text(encoding="utf-8")
    found = re.search(rf"^### Lab \d+: {name}$(.*?)(?=^##[#]? |\Z)", text, re.M | re.S)
    return found[1].strip().splitlines() if found else []


def wrong_fixes(name: str) -> list[WrongFix]:
    """Return the wrong fixes kept for a lab.

    Raises:
        UsageError: a patch does not say what its verdict must say.
    """
    folder = catalogue.ROOT / WRONG_FIXES / name
    return [_wrong_fix(patch) for patch in sorted(folder.glob("*.patch"))]


def _wrong_fix(patch: Path) -> WrongFix:
    said = _SAYS.search(patch.read_text(encoding="utf-8").partition("\n---")[0])
    if said is None:
        raise UsageError(f"{patch.name}: no line `Says: PATTERN` before the patch")
    return WrongFix(patch, said[1])


def _of_judgements(name: str) -> Iterator[str]:
    fixes = wrong_fixes(name)
    if len(fixes) < FEWEST_WRONG_FIXES:
        yield f"{WRONG_FIXES / name}: {len(fixes)} wrong fixes; {FEWEST_WRONG_FIXES} are asked for"
    with tempfile.TemporaryDirectory(prefix="leak-lab-verify-") as folder:
        copies = list(_copies(name, fixes, Path(folder)))
        starter, fixed, *wrong = judge(name, copies)
    if starter.passed:
        yield "the leaky twin passes its check"
    if not fixed.passed:
        yield f"the fixed twin does not pass: {text_of(fixed)}"
    for fix, judgement in zip(fixes, wrong, strict=True):
        yield from _of_wrong_fix(fix, judgement)


def _copies(name: str, fixes: Sequence[WrongFix], folder: Path) -> Iterator[Path]:
    """Yield copies of the leaky twin, of the fixed one, and of the leaky one with each patch."""
    leaky, fixed = (catalogue.ROOT / room / f"{name}.py" for room in ("leaky", "fixed"))
    make = partial(_copy, name, folder)
    yield make("starter", leaky)
    yield make("solution", fixed)
    for fix in fixes:
        copy = make(fix.patch.stem, leaky)
        _apply(fix.patch, copy)
        yield copy


def _copy(name: str, folder: Path, what: str, source: Path) -> Path:
    copy = folder / what / "leaky" / f"{name}.py"
    copy.parent.mkdir(parents=True)
    copy.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return copy


def _apply(patch: Path, copy: Path) -> None:
    folder = copy.parents[1]
    alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", "-p1", str(patch)]
    done = subprocess.run(
        command, cwd=folder, env=alone, capture_output=True, encoding="utf-8", check=False
    )
    if done.returncode:
        raise UsageError(f"{patch.name} does not apply: {done.stderr.strip()}")


def _of_wrong_fix(fix: WrongFix, judgement: Judgement) -> Iterator[str]:
    if judgement.passed:
        yield f"{fix.patch.name} passes, and is no fix"
    elif not re.search(fix.says, text_of(judgement)):
        yield f"{fix.patch.name}: the verdict does not say /{fix.says}/: {text_of(judgement)}"


def text_of(judgement: Judgement) -> str:
    """Return what was found, in one line."""
    return " ".join(line.strip() for finding in judgement.findings for line in finding)
