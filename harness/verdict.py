"""The judgement on a run: pure arithmetic on samples, no operating system."""

from collections.abc import Sequence
from itertools import pairwise

from .model import Gauge, Sample, Verdict

MIN_GROWTH_PER_OPERATION = 0.02
"""Slower growth than one in 50 operations is not called a leak of a run that lasts seconds: a pool
or a cache that fills looks the same in so short a time."""

REPORTS_FOR_LEAK = 3
REPORTS_FOR_STABLE = 2


def judge(samples: Sequence[Sample], gauge: Gauge) -> Verdict:
    """Judge whether `gauge` grows with the operations in `samples`.

    A leak grew between every two of at least three reports; stable is no growth between at least
    two, or, between three, growth that paused and is too slow for a leak. The sample at the start
    does not count: what a program opens once (a pooled connection, a cache) is open by the first
    report. Anything else is undecided, `leaking` is `None`.
    """
    reports = [sample for sample in samples if sample.operations > 0]
    values = [sample.values.get(gauge) for sample in reports]
    known = [value for value in values if value is not None]
    if len(known) < len(values) or len(known) < REPORTS_FOR_STABLE:
        return Verdict(None, gauge, 0.0, "too little data")
    rate = _growth_per_operation(reports, known)
    return Verdict(_leaking(known, rate), gauge, rate, _evidence(reports, known, gauge))


def judge_all(samples: Sequence[Sample], gauges: Sequence[Gauge]) -> Verdict:
    """Judge each of `gauges`: a leak in any is one, stable means that all are.

    Returns the verdict on the gauge that decided.
    """
    verdicts = [judge(samples, gauge) for gauge in gauges]
    by_weight = {True: 2, None: 1, False: 0}
    return max(verdicts, key=lambda verdict: by_weight[verdict.leaking])


def _growth_per_operation(reports: Sequence[Sample], values: Sequence[float]) -> float:
    operations = reports[-1].operations - reports[0].operations
    return (values[-1] - values[0]) / operations if operations else 0.0


def _leaking(values: Sequence[float], rate: float) -> bool | None:
    steps = [later - earlier for earlier, later in pairwise(values)]
    grew_always, is_slow = min(steps) > 0, rate < MIN_GROWTH_PER_OPERATION
    if len(values) >= REPORTS_FOR_LEAK and grew_always != is_slow:
        return grew_always
    return False if values[-1] <= values[0] else None


def _evidence(reports: Sequence[Sample], values: Sequence[float], gauge: Gauge) -> str:
    operations = reports[-1].operations - reports[0].operations
    grown = values[-1] - values[0]
    return f"{gauge.title}: {grown:+g} over {operations} operations, {len(reports)} reports"
