"""Judges counts taken after rounds of calls: pure arithmetic, no operating system."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise


class Trend(Enum):
    """How a count behaves over the rounds; unclear is not yet decided: more rounds will tell."""

    GROWING = "growing"
    STABLE = "stable"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Growth:
    """The judgement on one count: how much it grew in all, and for each call."""

    trend: Trend
    count: int
    per_call: float


def judge_growth(counts: Sequence[int], calls_per_round: int) -> Growth:
    """Judge how a count grows with calls.

    A leak grows in every round. What grew at first and then stopped is a pool or a cache that
    filled; steps that fell below half of the first may be one that still does.

    Args:
        counts: what was open before the first round and after each of them, once garbage was
            collected: one more than there were rounds.
        calls_per_round: how many calls each round made.
    """
    steps = [after - before for before, after in pairwise(counts)]
    grown = counts[-1] - counts[0]
    per_call = grown / (calls_per_round * len(steps)) if steps else 0.0
    return Growth(_trend(steps, grown), grown, per_call)


def judge_coarsely(counts: Sequence[int], calls_per_round: int) -> Growth:
    """Judge as `judge_growth` does, with every two rounds taken as one, and decide.

    That finds what leaks so rarely that some rounds miss it; what is still unclear then has not
    grown in every round, and is stable.
    """
    growth = judge_growth(counts[:: 2 if len(counts) % 2 else 1], 2 * calls_per_round)
    trend = Trend.GROWING if growth.trend is Trend.GROWING else Trend.STABLE
    per_call = growth.count / (calls_per_round * (len(counts) - 1))
    return Growth(trend, growth.count, per_call)


def _trend(steps: Sequence[int], grown: int) -> Trend:
    if len(steps) < 2:
        return Trend.UNCLEAR
    if all(step > 0 for step in steps):
        return Trend.UNCLEAR if steps[-1] * 2 < steps[0] else Trend.GROWING
    stopped = max(steps[-2:]) <= 0
    return Trend.STABLE if grown <= 0 or stopped else Trend.UNCLEAR
