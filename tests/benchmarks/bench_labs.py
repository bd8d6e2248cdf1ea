"""How long each lab's exercise takes to judge: its leaky twin as a copy that nobody has mended."""

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


def time(name: str, effort: Effort) -> Medians:
    """Time the verdict on one lab, in turn with pytest's on an empty test."""
    works: dict[str, Work] = {name: partial(verdict, name), EMPTY_TEST: empty_test}
    return in_turn(works, replace(effort, rounds=1 if effort.short else FEWEST_ROUNDS))


def row(name: str, taken_s: float | None, empty_s: float) -> Row:
    """Return a lab's row."""
    ratio = None if taken_s is None else taken_s / empty_s
    limits = [Limit(taken_s, "s", LIMIT_S), Limit(ratio, "× an empty test", 7.5, 10)]
    return Row([name, duration(taken_s)], limits)


def tables(effort: Effort) -> list[Table]:
    """Time the verdict on each lab against the median of all the empty tests between them."""
    medians = {name: time(name, effort) for name in catalogue.names()}
    empty_s = median(found for each in medians.values() if (found := each[EMPTY_TEST]) is not None)
    rows = [row(name, each[name], empty_s) for name, each in medians.items()]
    rows.append(Row([EMPTY_TEST, duration(empty_s)]))
    return [Table("Verdict on an unmended copy of each lab", ["", "median"], rows)]
