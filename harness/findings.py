"""What `harness check` and the pytest plugin are asked, and what they found: data only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Frame = tuple[str, int, str]
"""File, line, function."""

Verdict = Literal["leak", "clean", "unknown"]


@dataclass(frozen=True)
class Plan:
    """How much to call: `calls` in a round (`None`: as many as take 0.05 s, 10 to 25), `rounds`.

    `memory` says whether growing memory is judged too.
    """

    calls: int | None = None
    rounds: int = 4
    warm_up: int = 5
    memory: bool = True


@dataclass(frozen=True)
class Leak:
    """What grows: `count` of `kind` more after `calls` calls, where opened, by what held."""

    kind: str
    count: int
    growth_per_call: float
    opened_at: tuple[Frame, ...]
    held_by: tuple[str, ...]
    via: str = ""


@dataclass(frozen=True)
class Result:
    """What the rounds showed.

    `late` counts, by kind, what closed only after the calls, and `more` what was open more at the
    end than at the beginning, though no leak was made of it; `reason` says why the verdict is
    unknown, or how a call failed.
    """

    verdict: Verdict
    calls: int = 0
    rounds: int = 0
    leaks: tuple[Leak, ...] = ()
    late: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    more: Mapping[str, int] = field(default_factory=dict)
