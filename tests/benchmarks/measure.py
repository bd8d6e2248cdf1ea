"""What the benchmarks share: medians of things timed in turn, and tables with their bounds."""

import importlib
import os
import shutil
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

Work = Callable[[], object]
Medians = Mapping[str, float | None]
"""Seconds by name; `None` where a tool is not installed or refuses."""

FEWEST_ROUNDS = 3
MEMORY = "/dev/shm"


class Unavailable(Exception):
    """A tool to compare with cannot be run here."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: `rounds` of everything, fewer where they take more than `budget_s`.

    In the `short` form only ratios are held to bounds, to wider ones.
    """

    rounds: int
    budget_s: float
    short: bool = False


LONG = Effort(rounds=21, budget_s=12.0)
SHORT = Effort(rounds=7, budget_s=4.0, short=True)


@dataclass(frozen=True)
class Limit:
    """A figure that must not pass `at_most`, or `at_most_short` in the short form.

    `of` says what the figure is. Where `at_most_short` is `None`, the short form does not hold it:
    seconds say something of a quiet machine only.
    """

    figure: float | None
    of: str
    at_most: float
    at_most_short: float | None = None

    def bound(self, short: bool) -> float | None:
        """Return what the figure is held to, `None` if to nothing."""
        return self.at_most_short if short else self.at_most

    def is_met(self, short: bool) -> bool:
        """Tell whether the figure keeps to its bound; one that was not measured does."""
        bound = self.bound(short)
        return self.figure is None or bound is None or self.figure <= bound

    def text(self, short: bool) -> str:
        """Return what stands beside the row."""
        if self.figure is None:
            return f"n/a {self.of}"
        if (bound := self.bound(short)) is None:
            return f"{self.figure:.3g} {self.of}"
        mark = "✅" if self.is_met(short) else "❌"
        return f"{mark} {self.figure:.3g} {self.of} (at most {bound:g})"


class Row(NamedTuple):
    """A table's cells, and what they are held to."""

    cells: Sequence[str]
    limits: Sequence[Limit] = ()


@dataclass(frozen=True)
class Table:
    """One table of the results: what was measured, its rows, a word on it."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Row]
    note: str = ""

    def as_markdown(self, short: bool) -> str:
        """Return it as a section of a Markdown document."""
        from tabulate import tabulate

        headers, rows = [*self.headers, "bound"], [_cells(row, short) for row in self.rows]
        if not any(row.limits for row in self.rows):
            headers, rows = headers[:-1], [row[:-1] for row in rows]
        body = tabulate(rows, headers, tablefmt="github", disable_numparse=True)
        note = ["", self.note] if self.note else []
        return "\n".join([f"## {self.title}", "", body, *note]) + "\n"

    def missed(self, short: bool) -> list[str]:
        """Return a line for each figure that passes its bound."""
        return [
            f"{self.title}, {row.cells[0]}: {limit.text(short)}"
            for row in self.rows
            for limit in row.limits
            if not limit.is_met(short)
        ]


def _cells(row: Row, short: bool) -> list[str]:
    return [*row.cells, "; ".join(limit.text(short) for limit in row.limits)]


def tables_of(name: str, effort: Effort) -> list[Table]:
    """Run the benchmark of this name; one that fails is a table too, and misses its bound."""
    try:
        found: list[Table] = importlib.import_module(f"{__package__}.bench_{name}").tables(effort)
    except Exception as error:  # noqa: BLE001 - the others' figures must not be lost
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}"
        return [
            Table(f"bench_{name}", ["", "why"], [Row(["failed", why], [Limit(1, "failed", 0, 0)])])
        ]
    return found


def seconds(work: Work) -> float:
    """Return how long `work` takes, in seconds of wall time."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def in_turn(works: Mapping[str, Work], effort: Effort) -> dict[str, float | None]:
    """Return each work's median in seconds; they are timed in turn, so that noise hits all alike.

    The first round warms up and does not count.
    """
    runnable = {name: work for name, work in works.items() if available(name, work)}
    times: dict[str, list[float]] = {name: [] for name in runnable}
    began_s = time.perf_counter()
    for turn in range(effort.rounds):
        if turn >= FEWEST_ROUNDS and time.perf_counter() - began_s > effort.budget_s:
            break
        for name, work in list(runnable.items())[:: -1 if turn % 2 else 1]:
            times[name].append(seconds(work))
    return {name: statistics.median(times[name]) if name in times else None for name in works}


def available(name: str, work: Work) -> bool:
    """Run `work` once; tell whether it could be run. In CI every tool is there, or that fails."""
    try:
        work()
    except Unavailable as error:
        if os.environ.get("CI"):
            raise
        print(f"{name}: n/a: {error}", file=sys.stderr)
        return False
    return True


def command(line: str) -> Work:
    """Return what runs a shell's command line, its first word a tool that may not be there."""
    tool = line.split(maxsplit=1)[0]
    beside = Path(sys.executable).with_name(tool)
    found = str(beside) if beside.is_file() else shutil.which(tool)
    whole = found and line.replace(tool, found, 1)

    def run() -> None:
        if whole is None:
            raise Unavailable(f"{tool} is not installed")
        done = subprocess.run(["sh", "-c", whole], capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(f"{tool}: {done.stderr.strip() or done.returncode}")

    return run


def in_memory() -> dict[str, str]:
    """Return an environment whose temporary folder is in memory, where there is such a folder.

    How fast files are made on a disk says nothing of what makes them.
    """
    return os.environ | ({"TMPDIR": MEMORY} if Path(MEMORY).is_dir() else {})


def ratio(medians: Medians, name: str, other: str) -> float | None:
    """Return how many times the other's median one's is; `None` where either is unknown."""
    one_s, other_s = medians[name], medians[other]
    return None if one_s is None or other_s is None else one_s / other_s


def duration(value_s: float | None) -> str:
    """Return a time with three digits in the unit that fits it."""
    if value_s is None:
        return "n/a"
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value_s * factor >= 1:
            return f"{value_s * factor:.3g} {unit}"
    return f"{value_s * 1e9:.3g} ns"


def against(medians: Medians, ours: str, *limits: Limit) -> list[Row]:
    """Return a row for each way: its name, its median, how many times ours that is.

    The limits are ours.
    """
    rows = []
    for name, median_s in medians.items():
        times = ratio(medians, name, ours)
        cells = [name, duration(median_s), "n/a" if times is None else f"{times:.3g}"]
        rows.append(Row(cells, limits if name == ours else ()))
    return rows
