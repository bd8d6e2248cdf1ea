"""How long each lab's exercise takes to judge: its leaky twin as a copy that nobody has mended."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from labs.course import catalogue
from labs.course.judge import judge

from .measure import FEWEST_ROUNDS, Effort, Limit, Row, Table, Work, duration, in_turn, ratio

LIMIT_S = 2.0
START = "python -c pass"


def verdict(name: str) -> None:
    """Judge the leaky twin; it must fail."""
    assert not judge(name, [Path(catalogue.ROOT, "leaky", f"{name}.py")])[0].passed


def row(name: str, effort: Effort) -> Row:
    """Time the verdict on one lab, in turn with the start of Python itself."""
    works: dict[str, Work] = {
        name: lambda: verdict(name),
        START: lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
    }
    medians = in_turn(works, replace(effort, rounds=1 if effort.short else FEWEST_ROUNDS))
    limits = [
        Limit(medians[name], "s", LIMIT_S),
        Limit(ratio(medians, name, START), "× Python's start", 90, 135),
    ]
    return Row([name, duration(medians[name])], limits)


def tables(effort: Effort) -> list[Table]:
    """Time the verdict on each lab."""
    rows = [row(name, effort) for name in catalogue.names()]
    return [Table("Verdict on an unmended copy of each lab", ["", "median"], rows)]
