"""Profiles as the text that Go's net/http/pprof writes for `?debug=1` and `?debug=2`."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from harness.pprof.goroutines import Goroutine
from harness.pprof.profile import Labels, Profile, Stack, column
from harness.pprof.units import printable

_SAME_FOR_MANY = ("kind", "thread", "state")


def grouped(name: str, profile: Profile) -> str:
    """Return `?debug=1`: how many are on each stack, the most first, then a line for each frame.

    The addresses stand for places in the bytecode. Of the labels, those that single one out
    (its name, what it waits on, a thread's own thread) are left out.
    """
    shown = column(profile)
    counts: Counter[tuple[Stack, Labels]] = Counter()
    for sample in profile.samples:
        counts[sample.stack, _of_many(sample.labels)] += sample.values[shown]
    lines = [f"{name} profile: total {counts.total()}"]
    for (stack, labels), count in sorted(counts.items(), key=lambda item: -item[1]):
        lines += [*_group(stack, labels, count), ""]
    return "\n".join([*lines, *(f"# {comment}" for comment in profile.comments)]).rstrip() + "\n"


def _of_many(labels: Labels) -> Labels:
    of_itself = ("thread", dict(labels).get("name", ""))
    return tuple(each for each in labels if each[0] in _SAME_FOR_MANY and each != of_itself)


def _group(stack: Stack, labels: Labels, count: int) -> Iterator[str]:
    yield f"{count} @ {' '.join(f'{frame.address:#x}' for frame in stack)}".rstrip()
    if labels:
        yield f"# labels: {json.dumps(dict(labels), separators=(', ', ':'))}"
    for frame in stack:
        place = f"+{frame.offset:#x}\t{frame.file}:{frame.line}" if frame.file else ""
        yield f"#\t{frame.address:#x}\t{frame.function}{place}"


def blocks(goroutines: Iterable[Goroutine]) -> str:
    """Return `?debug=2`: a block for each task and thread, headed by its number and state.

    The threads that run event loops come last; they are in no other count.
    """
    return "\n".join("\n".join(_block(goroutine)) + "\n" for goroutine in goroutines)


def _block(goroutine: Goroutine) -> Iterator[str]:
    yield f"goroutine {goroutine.number} [{goroutine.state}]:"
    for frame in goroutine.stack:
        yield f"{frame.function}(...)"
        if frame.file:
            yield f"\t{frame.file}:{frame.line} +{frame.offset:#x}"
    if goroutine.created_at:
        yield f"created by\n\t{goroutine.created_at}"
    yield f"# {_who(goroutine)}"


def _who(goroutine: Goroutine) -> str:
    where = f" in {goroutine.thread}" if goroutine.kind == "task" and goroutine.thread else ""
    waits_on = f", waits on {goroutine.waits_on}" if goroutine.waits_on else ""
    return printable(f"{goroutine.kind} {goroutine.name}{where}{waits_on}")
