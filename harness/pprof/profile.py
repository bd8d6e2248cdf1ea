"""A profile as plain values: stacks, what was counted on each, and labels."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple
from zlib import crc32

from harness.errors import UsageError

_TEXT_START = 0x1000000

Labels = tuple[tuple[str, str | int], ...]


class ProfileError(UsageError):
    """A profile cannot be read or compared; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One call on a stack.

    `offset` is the place in the function's bytecode, in bytes; `address` stands for function and
    offset where a compiled program would have a program counter.
    """

    function: str
    file: str
    line: int
    start_line: int = 0
    offset: int = 0
    address: int = 0

    def __hash__(self) -> int:
        """Return the address: frames are looked up by the ten thousand."""
        return self.address

    @classmethod
    def at(
        cls, function: str, file: str, line: int, start_line: int = 0, offset: int = 0
    ) -> "Frame":
        """Return a frame whose address is the same in every run of the same source."""
        start = _TEXT_START + (crc32(f"{file}:{start_line}:{function}".encode()) << 16)
        return cls(function, file, line, start_line, offset, start + (offset or line))


Stack = tuple[Frame, ...]
"""The innermost call first, as in profile.proto."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a column of values counts (`goroutine`), and its unit (`count`)."""

    type: str
    unit: str


class Sample(NamedTuple):
    """One stack with a value for each of the profile's value types."""

    stack: Stack
    values: tuple[int, ...]
    labels: Labels = ()


@dataclass(frozen=True)
class Profile:
    """Samples of one kind, taken at `time_ns` (since 1970) over `duration_ns`.

    `default_type` names the value type that a viewer shows first.
    """

    types: tuple[ValueType, ...]
    samples: tuple[Sample, ...]
    period_type: ValueType
    period: int = 1
    time_ns: int = 0
    duration_ns: int = 0
    default_type: str = ""
    program: str = ""
    comments: tuple[str, ...] = ()


def column(profile: Profile) -> int:
    """Return the index of the value type that is shown first: the default, or else the last."""
    names = [value_type.type for value_type in profile.types]
    return names.index(profile.default_type) if profile.default_type in names else len(names) - 1


def merged(samples: Iterable[Sample]) -> tuple[Sample, ...]:
    """Add up the samples of equal stack and labels; those that come to nothing are left out."""
    sums: dict[tuple[Stack, Labels], tuple[int, ...]] = {}
    for sample in samples:
        key = sample.stack, sample.labels
        old = sums.get(key)
        new = sample.values
        sums[key] = new if old is None else tuple(map(int.__add__, old, new))
    return tuple(Sample(*key[:1], values, key[1]) for key, values in sums.items() if any(values))


def difference(after: Profile, before: Profile) -> Profile:
    """Return what `after` has more than `before`, less being negative, as pprof's `-base` does.

    Raises `ProfileError` if the two count different things.
    """
    if after.types != before.types:
        raise ProfileError(
            f"cannot compare a profile of {_listed(after)} with one of {_listed(before)}: "
            "take both from the same page"
        )
    negated = (s._replace(values=tuple(-value for value in s.values)) for s in before.samples)
    return replace(
        after,
        samples=merged([*after.samples, *negated]),
        duration_ns=max(0, after.time_ns - before.time_ns),
    )


def _listed(profile: Profile) -> str:
    return ", ".join(f"{value_type.type}/{value_type.unit}" for value_type in profile.types)
