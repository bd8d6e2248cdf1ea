"""What the benchmarks share: medians, things timed in turn, and tables with their limits."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Limit:
    """A figure that must not pass `at_most`; `met` tells whether it does not."""

    name: str
    figure: float
    at_most: float

    @property
    def met(self) -> bool:
        """Tell whether the figure keeps to its limit."""
        return self.figure <= self.at_most

    def __str__(self) -> str:
        """Return one line for the results."""
        mark = "✅" if self.met else "❌"
        return f"{mark} {self.name}: {self.figure:.3g} (at most {self.at_most:g})"


@dataclass(frozen=True)
class Table:
    """One table of the results: what was measured, its rows, what it must keep to, a word on it."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    limits: Sequence[Limit] = ()
    note: str = ""

    def as_markdown(self) -> str:
        """Return it as a section of a Markdown document."""
        from tabulate import tabulate

        body = tabulate(self.rows, self.headers, tablefmt="github", disable_numparse=True)
        lines = [f"## {self.title}", "", body, ""]
        lines += [self.note, ""] if self.note else []
        lines += [f"- {limit}" for limit in self.limits]
        return "\n".join(lines).rstrip() + "\n"


def seconds(work: Work) -> float:
    """Return how long `work` takes, in seconds of wall time."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def in_turn(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """Return each work's median in seconds; they are timed in turn, so that noise hits all alike.

    The first round warms up and does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in list(works.items())[:: -1 if turn % 2 else 1]:
            took_s = seconds(work)
            if turn:
                times[name].append(took_s)
    return {name: statistics.median(taken) for name, taken in times.items()}


def duration(value_s: float) -> str:
    """Return a time with three digits in the unit that fits it."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value_s * factor >= 1:
            return f"{value_s * factor:.3g} {unit}"
    return f"{value_s * 1e9:.3g} ns"


def against(medians: Mapping[str, float], ours: str) -> list[list[str]]:
    """Return a row for each way: its name, its median, and how many times ours that is."""
    return [
        [name, duration(median_s), f"{median_s / medians[ours]:.3g}"]
        for name, median_s in medians.items()
    ]
