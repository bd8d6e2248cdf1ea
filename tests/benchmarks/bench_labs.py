"""How long each lab's exercise takes to judge: its leaky twin as a copy that nobody has mended."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from labs.course import catalogue
from labs.course.judge import judge

from .bench_check import EMPTY_TEST, empty_test
from .measure import FEWEST_ROUNDS, Effort, Limit, Medians, Row, Table, Work, duration, in_turn

LIMIT_S = 2.0


def verdict(name: str) -> None:
    """Judge the leaky twin; it must fail."""
    assert not judge(name, [Path(catalogue.ROOT, "leaky", f"{name}.py")])[0].passed


def times(names: Sequence[str], effort: Effort) -> Medians:
    """Time the verdict on each lab, and pytest's on an empty test after it.

    All have their turn before one has its next: what else the machine does for some seconds hits
    each of them once.
    """
    works: dict[str, Work] = {}
    for name in names:
        works |= {name: partial(verdict, name), empty_after(name): empty_test}
    return in_turn(works, replace(effort, rounds=FEWEST_ROUNDS))


def empty_after(name: str) -> str:
    """Return the name of the empty test that is run after a lab's verdict."""
    return f"{EMPTY_TEST} after {name}"


def row(name: str, taken_s: float | None, empty_s: float) -> Row:
    """Return a lab's row."""
    ratio = None if taken_s is None else taken_s / empty_s
    limits = [Limit(taken_s, "s", LIMIT_S), Limit(ratio, "× an empty test", 7.5, 10)]
    return Row([name, duration(taken_s)], limits)


def tables(effort: Effort) -> list[Table]:
    """Time the verdict on each lab against the median of all the empty tests between them."""
    names = catalogue.names()
    medians = times(names, effort)
    empty_s = median(found for each in names if (found := medians[empty_after(each)]) is not None)
    rows = [row(name, medians[name], empty_s) for name in names]
    rows.append(Row([EMPTY_TEST, duration(empty_s)]))
    return [Table("Verdict on an unmended copy of each lab", ["", "median"], rows)]
