"""How long each lab's exercise takes to judge: its leaky twin as a copy that nobody has mended."""

from pathlib import Path

from labs.course import catalogue
from labs.course.judge import judge

from .measure import Effort, Limit, Row, Table, duration, in_turn

LIMIT_S = 2.0


def verdict(name: str) -> None:
    """Judge the leaky twin; it must fail."""
    assert not judge(name, [Path(catalogue.ROOT, "leaky", f"{name}.py")])[0].passed


def tables(effort: Effort) -> list[Table]:
    """Time the verdict on each lab."""
    rows = []
    for name in catalogue.names():
        once = Effort(1 if effort.short else 3, effort.budget_s)
        median_s = in_turn({name: lambda name=name: verdict(name)}, once)[name]
        rows.append(Row([name, duration(median_s)], [Limit(median_s, "s", LIMIT_S)]))
    return [Table("Verdict on a copy of each lab", ["", "median"], rows)]
