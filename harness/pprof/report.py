"""A profile as tables on a terminal, as `go tool pprof -top` and `-traces` print them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from harness.pprof.profile import Profile, Stack, column
from harness.pprof.units import amount, printable

_YEAR_9999_NS = 253_370_764_800 * 10**9
_RULE = "-----------+-------------------------------------------------------"


@dataclass(frozen=True)
class Row:
    """A function: `flat` is its own, `cumulative` includes what it called."""

    function: str
    flat: int
    cumulative: int


def rows(profile: Profile) -> list[Row]:
    """Return the functions of `profile`, the most of their own first.

    A function that is on a stack twice counts once, as in pprof.
    """
    shown = column(profile)
    flat: Counter[str] = Counter()
    cumulative: Counter[str] = Counter()
    for sample in profile.samples:
        names = [frame.function for frame in sample.stack]
        for name in dict.fromkeys(names):
            cumulative[name] += sample.values[shown]
        if names:
            flat[names[0]] += sample.values[shown]
    found = (Row(name, flat[name], value) for name, value in cumulative.items())
    return sorted(found, key=lambda row: (-abs(row.flat), -abs(row.cumulative), row.function))


def top(profile: Profile, count: int) -> str:
    """Return the first `count` functions with their shares of the total."""
    total = _total(profile)
    unit = profile.types[column(profile)].unit
    found = rows(profile)
    shown = found[:count]
    flat = sum(row.flat for row in shown)
    lines = [
        *_head(profile),
        f"Showing nodes accounting for {amount(flat, unit)}, {_share(flat, total)} of "
        f"{amount(total, unit)} total",
    ]
    if len(found) > len(shown):
        lines.append(f"Showing top {len(shown)} nodes out of {len(found)}")
    lines.append("      flat  flat%   sum%        cum   cum%")
    return "\n".join([*lines, *_table(shown, total, unit)]) + "\n"


def _table(shown: list[Row], total: int, unit: str) -> Iterator[str]:
    seen = 0
    for row in shown:
        seen += row.flat
        flat, cumulative = amount(row.flat, unit), amount(row.cumulative, unit)
        yield (
            f"{flat:>10} {_share(row.flat, total):>6} {_share(seen, total):>6} "
            f"{cumulative:>10} {_share(row.cumulative, total):>6}  {printable(row.function)}"
        )


def traces(profile: Profile) -> str:
    """Return each stack with its value, the largest first; stacks that are alike are one."""
    shown = column(profile)
    unit = profile.types[shown].unit
    sums: Counter[Stack] = Counter()
    for sample in profile.samples:
        sums[sample.stack] += sample.values[shown]
    lines = _head(profile)
    for stack, value in sorted(sums.items(), key=lambda item: -abs(item[1])):
        if value:
            names = [printable(frame.function) for frame in stack] or ["(no stack)"]
            lines += [_RULE, f"{amount(value, unit):>10}   {names[0]}"]
            lines += [f"{'':>10}   {name}" for name in names[1:]]
    return "\n".join([*lines, _RULE]) + "\n"


def _head(profile: Profile) -> list[str]:
    lines = [f"File: {printable(profile.program)}"] if profile.program else []
    lines.append(f"Type: {printable(profile.types[column(profile)].type)}")
    if 0 < profile.time_ns < _YEAR_9999_NS:
        taken = datetime.fromtimestamp(profile.time_ns / 1e9, UTC)
        lines.append(f"Time: {taken:%Y-%m-%d %H:%M:%S} UTC")
    if profile.duration_ns:
        lines.append(f"Duration: {profile.duration_ns / 1e9:.2f}s")
    return [*lines, *map(printable, profile.comments)]


def _total(profile: Profile) -> int:
    """Return the sum that shares are of; what went counts as well, as in pprof."""
    shown = column(profile)
    return sum(abs(sample.values[shown]) for sample in profile.samples)


def _share(value: int, total: int) -> str:
    return f"{100 * value / total:.4g}%" if total else "0%"
