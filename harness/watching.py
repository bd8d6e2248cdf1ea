"""Reports on a process from outside, and the judgement on its growth."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from .clock import Clock
from .gauges import OPEN_FDS, RSS_BYTES, THREADS
from .model import Gauge, Verdict
from .probes.process import Figures, Listing

SHARE = 0.05
"""Of its time the watcher spends at most this on listings, and at most this on counting."""

COUNTS_PER_REPORT = 10
REMEMBERED = 1024
RATE_REPORTS = 5
REPORTS_FOR_LEAK = 8
"""Connections that live for several reports make counts wander: simulated (a Poisson process of
10 to 100 connections, 300 reports), five rising periods in a row came in 42 of 60 runs, eight
in 2."""

REPORTS_AT_LEAST = 3
JUDGED = (OPEN_FDS, THREADS)
"""Memory grows by itself for long; what it does is shown, not judged."""


class Watched(Protocol):
    """What a watcher asks of a process."""

    def open_fds(self) -> int | None:
        """Return the number of open descriptors."""

    def is_alive(self) -> bool:
        """Tell whether it still runs."""

    def figures(self) -> Figures | None:
        """Return the figures of this moment, `None` when it has ended."""

    def listing(self) -> Listing | None:
        """Return what its descriptors are."""


@dataclass(frozen=True)
class Report:
    """A process at one moment: `elapsed_s` after the first report, which is numbered 0.

    `lowest` and `highest` are those since the report before. `listing` is `listing_age_s` old.
    `growth_per_s` is that of the last reports, `limit_in_s` when the descriptors run out at that
    rate; `None` where there is no such rate or limit.
    """

    number: int
    elapsed_s: float
    values: Mapping[Gauge, float | None]
    lowest: Mapping[Gauge, float | None]
    highest: Mapping[Gauge, float | None]
    fd_limit: float | None
    listing: Listing | None
    listing_age_s: float
    growth_per_s: Mapping[Gauge, float | None]
    limit_in_s: float | None


class Budget:
    """Lets a measurement happen as often as keeps its cost within a share of the time."""

    def __init__(self, clock: Clock, share: float = SHARE) -> None:
        self._clock = clock
        self._share = share
        self._start_s = -math.inf
        self.due_s = -math.inf

    def begin(self) -> bool:
        """Tell whether it may happen now; if so, its time starts."""
        self._start_s = self._clock.now_s()
        return self._start_s >= self.due_s

    def end(self) -> None:
        """Take the cost into account: the next may start when this one's share is over."""
        cost_s = self._clock.now_s() - self._start_s
        self.due_s = self._start_s + cost_s / self._share


class Watcher:
    """Measures `process` every `every_s` seconds, on `clock`'s time.

    Between two reports it only counts descriptors, some times: a leak is judged by the lowest
    count, which a request under way or a late garbage collection does not raise.
    """

    def __init__(self, process: Watched, clock: Clock, every_s: float) -> None:
        self._process = process
        self._clock = clock
        self._every_s = every_s
        self._start_s = clock.now_s()
        self._listing: Listing | None = None
        self._listed_s = self._start_s
        self._listings = Budget(clock)
        self._counting = Budget(clock)
        self.reports: deque[Report] = deque(maxlen=REMEMBERED)
        self.has_ended = False

    def elapsed_s(self) -> float:
        """Return the seconds since watching began."""
        return self._clock.now_s() - self._start_s

    def watch(self, duration_s: float = math.inf) -> Iterator[Report]:
        """Yield a report at once and then at each interval, until the process ends."""
        number, end_s = 0, self._start_s + duration_s
        report = self._report(number, [])
        while report is not None:
            self.reports.append(report)
            yield report
            number += 1
            due_s = min(self._next_s(), end_s)
            if due_s <= self._clock.now_s():
                return
            report = self._report(number, self._counts_until(due_s))
        self.has_ended = True

    def _next_s(self) -> float:
        """Return the next moment on the grid of reports; those already missed are left out."""
        return self._start_s + (math.floor(self.elapsed_s() / self._every_s + 1e-9) + 1) * (
            self._every_s
        )

    def _counts_until(self, due_s: float) -> list[int]:
        """Count descriptors until `due_s`, or until the process has ended."""
        counts: list[int] = []
        step_s = self._every_s / COUNTS_PER_REPORT
        while (next_s := self._next_count_s(step_s)) < due_s:
            self._clock.wait_until(next_s)
            self._counting.begin()
            count = self._process.open_fds()
            self._counting.end()
            if not count and not self._process.is_alive():
                return counts
            counts += [] if count is None else [count]
        self._clock.wait_until(due_s)
        return counts

    def _next_count_s(self, step_s: float) -> float:
        return max(self._clock.now_s() + step_s, self._counting.due_s)

    def _report(self, number: int, counts: Sequence[int]) -> Report | None:
        figures = self._process.figures()
        if figures is None:
            return None
        elapsed_s = self.elapsed_s()
        values = {
            OPEN_FDS: figures.open_fds,
            THREADS: figures.threads,
            RSS_BYTES: figures.rss_bytes,
        }
        seen = [*counts, *([] if figures.open_fds is None else [figures.open_fds])]
        growth = {gauge: self._rate(gauge, elapsed_s, value) for gauge, value in values.items()}
        self._list()
        return Report(
            number,
            elapsed_s,
            values,
            {**values, OPEN_FDS: min(seen, default=None)},
            {**values, OPEN_FDS: max(seen, default=None)},
            figures.fd_limit,
            self._listing,
            max(0.0, self._start_s + elapsed_s - self._listed_s),
            growth,
            limit_in_s(figures, growth[OPEN_FDS]),
        )

    def _rate(self, gauge: Gauge, elapsed_s: float, value: float | None) -> float | None:
        if not self.reports:
            return None
        earlier = self.reports[-min(RATE_REPORTS, len(self.reports))]
        before, passed_s = earlier.values[gauge], elapsed_s - earlier.elapsed_s
        if before is None or value is None or passed_s <= 0:
            return None
        return (value - before) / passed_s

    def _list(self) -> None:
        """List the descriptors when the last listing's cost allows it."""
        if self._listings.begin():
            listed_s = self._clock.now_s()
            listing = self._process.listing()
            self._listings.end()
            if listing is not None:
                self._listing, self._listed_s = listing, listed_s


def limit_in_s(figures: Figures, growth_per_s: float | None) -> float | None:
    """Return the seconds until all descriptors are used: what is free, over the rate."""
    if figures.open_fds is None or figures.fd_limit is None or not growth_per_s:
        return None
    if growth_per_s < 0 or math.isinf(figures.fd_limit):
        return None
    return max(0.0, figures.fd_limit - figures.open_fds) / growth_per_s


def judge_all(reports: Sequence[Report], periods: int) -> Verdict | None:
    """Return the leak in any of the judged gauges, `None` where there is none to see (yet)."""
    verdicts = (judge(list(reports), gauge, periods) for gauge in JUDGED)
    return next((verdict for verdict in verdicts if verdict), None)


def judge_short(reports: Sequence[Report], periods: int) -> Verdict | None:
    """Judge a time that was over before `periods` reports: growth in all of at least three."""
    made = len(reports) - 1
    return judge_all(reports, made) if REPORTS_AT_LEAST <= made < periods else None


def judge(reports: Sequence[Report], gauge: Gauge, periods: int) -> Verdict | None:
    """Judge whether `gauge` grew in every one of the last `periods` periods.

    A period is one report, or 2, 4, 8 … of them: growth slower than one per report shows in
    longer ones. Its lowest value counts. The last must also be above all that was seen up to the
    first, because figures that only go up and down rise by chance, too. The report at the start
    does not count.
    """
    spans = [span for each in reports[1:] if (span := _span(each, gauge))]
    length = 1
    while length * periods <= len(spans):
        ends = range(len(spans) - length * periods, len(spans), length)
        lasting = [_joined(spans[at : at + length]) for at in ends]
        before = max(span.highest for span in spans[: ends[0] + length])
        if _rises(lasting) and lasting[-1].lowest > before:
            every = "reports" if length == 1 else f"periods of {length} reports"
            return _leak(gauge, lasting, f"every one of the last {periods} {every}")
        length *= 2
    return None


@dataclass(frozen=True)
class Span:
    """The lowest and the highest value in the time up to `end_s`."""

    end_s: float
    lowest: float
    highest: float


def _span(report: Report, gauge: Gauge) -> Span | None:
    lowest, highest = report.lowest[gauge], report.highest[gauge]
    return None if lowest is None or highest is None else Span(report.elapsed_s, lowest, highest)


def _joined(spans: Sequence[Span]) -> Span:
    lowest = min(span.lowest for span in spans)
    return Span(spans[-1].end_s, lowest, max(span.highest for span in spans))


def _rises(spans: Sequence[Span]) -> bool:
    return all(later.lowest > earlier.lowest for earlier, later in pairwise(spans))


def _leak(gauge: Gauge, spans: Sequence[Span], when: str) -> Verdict:
    first, last = spans[0], spans[-1]
    grown, passed_s = last.lowest - first.lowest, last.end_s - first.end_s
    evidence = (
        f"{gauge.title}: {grown:+g} over {passed_s:.3g}s ({first.lowest:g} to {last.lowest:g}, "
        f"{grown / passed_s:+.3g}/s), growth in {when}"
    )
    return Verdict(True, gauge, grown / passed_s, evidence)
