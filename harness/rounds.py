"""Calls something in rounds under the tracker, and counts what is open after each.

The one finder behind `harness check` and the pytest plugin.
"""

import errno
import gc
import inspect
import math
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from harness.errors import UsageError
from harness.findings import Leak, Plan, Result, Verdict
from harness.limits import limited
from harness.model import Opened
from harness.tracker import Tracker
from harness.verdict_growth import Growth, Trend, judge_coarsely, judge_growth

Call = Callable[[], object]
Rest = Callable[[float], Awaitable[None]]
Key = tuple[str, tuple[tuple[str, int, str], ...], str]

CALLS, FEWEST_CALLS = 25, 10
STANDARD_STREAMS = (0, 1, 2)
ROUND_S = 0.05
PAUSES_S = (0.002, 0.008)
LAST_PAUSES_S = (0.01, 0.02, 0.04, 0.08)
COLLECTIONS = 2  # what a finalizer drops waits for the second
NOBODY = "nobody: a plain number is closed only by os.close()"


def check(call: Call, plan: Plan, *, opened: Tracker | None = None) -> Result:
    """Call `call` in rounds and judge what grows.

    Args:
        call: takes no arguments; a coroutine function is awaited in one event loop of its own.
        plan: how often.
        opened: a tracker that is on already; by default one is made for the rounds.

    Raises:
        UsageError: `call` returned an awaitable although it is no coroutine function.
        Exception: whatever `call` raises, except running out of descriptors, which is judged.
    """
    if is_async(call):
        import asyncio

        return asyncio.run(_Rounds(call, plan, asyncio.sleep).run(opened))
    return _finish(_Rounds(call, plan, _sleep).run(opened))


def is_async(call: Call) -> bool:
    """Tell whether calling `call` gives something to await."""
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 (an object whose __call__ is async)
    )


async def _sleep(pause_s: float) -> None:
    time.sleep(pause_s)  # noqa: ASYNC251 (there is no loop: the program's own may run in a call)


def _finish(coroutine: Coroutine[Any, None, Result]) -> Result:
    """Run a coroutine that never waits, without a loop, so that `call` may start its own."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    raise AssertionError("a plain function's rounds wait for nothing")


class _Rounds:
    def __init__(self, call: Call, plan: Plan, rest: Rest) -> None:
        self._call = call
        self._plan = plan
        self._rest = rest
        self._awaits = is_async(call)
        self._calls = plan.calls or CALLS
        self._counts: list[Counter[Key]] = []
        self._memory: list[int] = []
        self._late: Counter[str] = Counter()

    async def run(self, opened: Tracker | None) -> Result:
        if opened is not None:
            return await self._run(opened)
        with Tracker() as tracker:
            return await self._run(tracker)

    async def _run(self, tracker: Tracker) -> Result:
        try:
            await self._warm_up()
            await self._count(tracker)
            for _ in range(self._plan.rounds):
                await self._round(tracker)
            if self._keys(Trend.UNCLEAR):
                for _ in range(self._plan.rounds):
                    await self._round(tracker)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            with limited(math.inf):  # to look at what is open takes descriptors
                return self._exhausted(tracker)
        await self._settle_last(tracker)
        leaking = self._keys(Trend.GROWING)
        if not leaking and self._memory_grew():
            return await self._look_at_memory()
        return self._result(leaking, tracker)

    async def _warm_up(self) -> None:
        started_s = time.perf_counter()
        await self._calls_of(self._plan.warm_up)
        each_s = (time.perf_counter() - started_s) / max(self._plan.warm_up, 1)
        if self._plan.calls is None:
            fitting = int(ROUND_S / max(each_s, 1e-9))
            self._calls = min(CALLS, max(FEWEST_CALLS, fitting))

    async def _calls_of(self, number: int) -> None:
        for _ in range(number):
            result = self._call()
            if self._awaits:
                await result  # type: ignore[misc]
            elif inspect.isawaitable(result):
                getattr(result, "close", lambda: None)()
                raise UsageError("it returned a coroutine: declare it with async def")

    async def _round(self, tracker: Tracker) -> None:
        await self._calls_of(self._calls)
        before = Counter(kind for kind, _, _ in _keys(_open(tracker)))
        await self._count(tracker)
        after = Counter(kind for (kind, _, _) in self._counts[-1].elements())
        self._late |= before - after

    async def _count(self, tracker: Tracker) -> None:
        """Note what is open: at once if nothing grew, else after a bounded back-off."""
        former = self._counts[-1] if self._counts else None
        count = count_open(tracker)
        for pause_s in PAUSES_S:
            if former is not None and not count - former:
                break
            await self._rest(pause_s)
            count = count_open(tracker)
        self._counts.append(count)
        self._memory.append(sys.getallocatedblocks())

    async def _settle_last(self, tracker: Tracker) -> None:
        """Give what still grows a longer time to close before it is called a leak."""
        for pause_s in LAST_PAUSES_S:
            if not self._keys(Trend.GROWING):
                return
            await self._rest(pause_s)
            count = count_open(tracker)
            if count == self._counts[-1]:
                return
            self._counts[-1] = count

    def _keys(self, trend: Trend) -> dict[Key, Growth]:
        judged = {key: self._judge([count[key] for count in self._counts]) for key in self._seen()}
        return {key: growth for key, growth in judged.items() if growth.trend is trend}

    def _seen(self) -> set[Key]:
        return set(self._counts[-1]) | set(self._counts[0])

    def _judge(self, counts: list[int]) -> Growth:
        extended = len(counts) - 1 > self._plan.rounds
        return (judge_coarsely if extended else judge_growth)(counts, self._calls)

    def _exhausted(self, tracker: Tracker) -> Result:
        """Judge what is open when descriptors ran out: all that is new is the leak."""
        base = self._counts[0] if self._counts else Counter()
        grown = count_open(tracker) - base
        calls = max(self._calls * len(self._counts), 1)
        keys = {
            key: Growth(Trend.GROWING, count, count / calls)
            for key, count in grown.items()
            if count >= FEWEST_CALLS
        }
        return self._result(keys, tracker)

    def _result(self, leaking: Mapping[Key, Growth], tracker: Tracker) -> Result:
        rounds = len(self._counts) - 1
        if not leaking:
            return Result("clean", rounds * self._calls, rounds, late=dict(self._late))
        leaks = leaks_of(leaking, tracker)
        return Result("leak", rounds * self._calls, rounds, leaks, dict(self._late))

    def _memory_grew(self) -> bool:
        growth = judge_growth(self._memory, self._calls)
        return growth.trend is Trend.GROWING and growth.per_call >= 1 / FEWEST_CALLS

    async def _look_at_memory(self) -> Result:
        """Look again with allocations traced: block counts tell that, not where, memory grows."""
        from harness.memory_growth import MemoryTrace

        trace = MemoryTrace()
        with trace:
            for _ in range(self._plan.rounds):
                await self._calls_of(self._calls)
                gc.collect()
                trace.note()
            leaks = trace.leaks(self._calls)
        calls = self._calls * self._plan.rounds
        verdict: Verdict = "leak" if leaks else "clean"
        return Result(verdict, calls, self._plan.rounds, leaks, dict(self._late))


def count_open(tracker: Tracker) -> Counter[Key]:
    """Count what is open, by kind and opening line, after a garbage collection."""
    for _ in range(COLLECTIONS):
        if not gc.collect():
            break
    return Counter(_keys(_open(tracker)))


def _open(tracker: Tracker) -> list[Opened]:
    """List what is open, with the collector off: it would close things in the middle of that.

    Without the standard streams, which a test runner's capture redirects all the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        listed = tracker.open_resources()
        return [each for each in listed if each.descriptor not in STANDARD_STREAMS]
    finally:
        if enabled:
            gc.enable()


def _keys(opened: Iterable[Opened]) -> list[Key]:
    """Return what tells resources apart; a transport on a socket that is listed too is the same."""
    listed = list(opened)
    numbers = {each.descriptor for each in listed if each.kind != "transport"} - {None}
    return [
        (each.kind, each.stack[:1], each.via)
        for each in listed
        if each.kind != "transport" or each.descriptor not in numbers
    ]


def leaks_of(leaking: Mapping[Key, Growth], tracker: Tracker) -> tuple[Leak, ...]:
    """Return the evidence on what grew: where it was opened, and by what it is held."""
    from harness.holders import find_holders
    from harness.report import group_by_origin

    opened = [each for each in _open(tracker) if (each.kind, each.stack[:1], each.via) in leaking]
    groups = group_by_origin(opened, find_holders)
    found = []
    for group in groups:
        growth = leaking[group.kind, group.stack[:1], group.via]
        ownerless = not group.held_by and bool(group.stack)
        held_by = (NOBODY,) if ownerless else group.held_by
        stack = tuple(frame for frame in group.stack if frame[0] != "<string>")  # our own start
        found.append(Leak(group.kind, growth.count, growth.per_call, stack, held_by, group.via))
    return tuple(sorted(found, key=lambda leak: -leak.count))
