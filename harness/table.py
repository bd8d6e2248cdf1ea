"""The comparison of two runs as a table."""

import json
from collections.abc import Callable, Sequence

from .console import number, seconds
from .gauges import OPEN_FDS, RSS_BYTES
from .model import Gauge, Row, Run
from .terminal import carried

COMMON_LIMIT = 1024
"""The soft limit that most Linux shells and services start with."""

Improvement = Callable[[Run, Run], str]


def last(run: Run, gauge: Gauge) -> float | None:
    """Return a gauge's last value in a run, `None` where it was not measured."""
    return run.samples[-1].values.get(gauge) if run.samples else None


def growth(run: Run, gauge: Gauge) -> float | None:
    """Return how much a gauge has grown since the first sample."""
    first, now = run.samples[0].values.get(gauge), last(run, gauge)
    return None if first is None or now is None else now - first


def reduction(leaky: float | None, fixed: float | None) -> str:
    """Return the guide's measure of improvement: (leaky - fixed) / leaky."""
    if leaky is None or fixed is None:
        return "n/a"
    if leaky == fixed:
        return "Same"
    return f"{(leaky - fixed) / leaky:.1%} reduction" if 0 < leaky > fixed else "n/a"


def _headline(title: str) -> str:
    return " ".join(word[:1].upper() + word[1:] for word in title.split())


def gauge_row(gauge: Gauge) -> Row:
    """Return the row of a gauge's last value, and its reduction.

    A counter of work done is the same or not; less of it is no improvement.
    """

    def improvement(leaky: Run, fixed: Run) -> str:
        word = reduction(last(leaky, gauge), last(fixed, gauge))
        return "n/a" if gauge.name.endswith("_total") and word != "Same" else word

    return Row(_headline(gauge.title), lambda run: number(last(run, gauge)), improvement)


def released_row(released: Gauge, acquired: Gauge, praise: str) -> Row:
    """Return the row of a counter that ought to reach another one; `praise` when it does."""

    def improvement(_leaky: Run, fixed: Run) -> str:
        return f"✅ {praise}" if last(fixed, released) == last(fixed, acquired) else "n/a"

    return Row(_headline(released.title), lambda run: number(last(run, released)), improvement)


def _megabytes(value: float | None) -> str:
    return "n/a" if value is None else f"{value / 1e6:.1f} MB"


MEMORY = Row(
    "Memory Growth",
    lambda run: _megabytes(growth(run, RSS_BYTES)),
    lambda leaky, fixed: reduction(growth(leaky, RSS_BYTES), growth(fixed, RSS_BYTES)),
)


def view_row(title: str, figure: str) -> Row:
    """Return the row of a figure from the views that were taken from outside."""

    def value(run: Run) -> float | None:
        return next((view.figures[figure] for view in run.views if figure in view.figures), None)

    return Row(
        title,
        lambda run: number(value(run)),
        lambda leaky, fixed: reduction(value(leaky), value(fixed)),
    )


def exhaustion_s(run: Run, limit: float | None) -> float | None:
    """Return how long after the start a run uses up `limit` descriptors at its measured rate.

    `None` where it does not: descriptors do not grow, or not surely, or there is no limit.
    """
    grown, elapsed_s = growth(run, OPEN_FDS), run.samples[-1].elapsed_s
    start = run.samples[0].values.get(OPEN_FDS)
    leaking = run.verdict is not None and run.verdict.leaking
    ended = run.exhaustion is not None and last(run, OPEN_FDS) == run.fd_limit
    if limit is None or start is None or not grown or grown <= 0 or not (leaking or ended):
        return None
    return (limit - start) * elapsed_s / grown


def limit_row(limit: float | None) -> Row:
    """Return the row of the time until "too many open files"; `None` is the run's own limit."""

    def at(run: Run) -> float | None:
        return limit or run.fd_limit

    def cell(run: Run) -> str:
        end_s = exhaustion_s(run, at(run))
        own = "" if limit else f" at {number(run.fd_limit)}"
        if end_s is not None:
            return seconds(end_s) + own
        return "never" if run.verdict is not None and run.verdict.leaking is False else "n/a"

    def improvement(leaky: Run, fixed: Run) -> str:
        ends = exhaustion_s(leaky, at(leaky)) is not None
        return "✅ Never" if ends and cell(fixed) == "never" else "n/a"

    title = f"Runs Out, Limit {limit}" if limit else "Runs Out, Own Limit"
    return Row(title, cell, improvement)


def _risk(run: Run) -> str:
    if run.exhaustion:
        return "🔴 Critical"
    if run.verdict is None or run.verdict.leaking is None:
        return "n/a"
    return "🔴 Critical" if run.verdict.leaking else "🟢 Normal"


def _safety(_leaky: Run, fixed: Run) -> str:
    return "✅ Safe" if _risk(fixed).endswith("Normal") else "n/a"


RISK = Row("Risk Level", _risk, _safety)


def cells(rows: Sequence[Row], leaky: Run, fixed: Run) -> list[list[str]]:
    """Return each row's title, its two cells and the word on their difference."""
    return [
        [row.title, row.cell(leaky), row.cell(fixed), row.improvement(leaky, fixed)] for row in rows
    ]


def as_objects(body: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Return the rows that `cells` gives as JSON has them."""
    keys = ("metric", "leaky", "fixed", "improvement")
    return [dict(zip(keys, row, strict=True)) for row in body]


def headers(leaky: Run, fixed: Run) -> list[str]:
    """Return the column heads, with how long each run lasted."""
    times = [seconds(run.samples[-1].elapsed_s) for run in (leaky, fixed)]
    return ["Metric", f"Leaky ({times[0]})", f"Fixed ({times[1]})", "Improvement"]


def render(
    rows: Sequence[Row], leaky: Run, fixed: Run, style: str, encoding: str | None = "utf-8"
) -> str:
    """Return the table in one of cli's formats, aligned as `encoding` can carry its cells."""
    from tabulate import tabulate

    head = headers(leaky, fixed)
    body = [[carried(cell, encoding) for cell in row] for row in cells(rows, leaky, fixed)]
    if style == "json":
        return json.dumps(as_objects(body), ensure_ascii=False, indent=2)
    return str(tabulate(body, head, tablefmt=style, disable_numparse=True))
