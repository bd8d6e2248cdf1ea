"""Calls something in rounds under the tracker, and counts what is open after each.

The one finder behind `harness check` and the pytest plugin.
"""

import contextlib
import errno
import gc
import inspect
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise, repeat
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.findings import Leak, Plan, Result, Verdict
from harness.limits import limited
from harness.model import Opened, Reading
from harness.patience import Patience
from harness.probes.memory import Allocated, allocated
from harness.tracker import Tracker
from harness.verdict_growth import Growth, Trend, judge_coarsely, judge_growth

if TYPE_CHECKING:
    from harness.report import FindHolders

Call = Callable[[], object]
MANAGERS = contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager
Rest = Callable[[float], Awaitable[None]]
Judge = Callable[[Sequence[int], int], Growth]
Key = tuple[str, tuple[tuple[str, int, str], ...], str]

CALLS, FEWEST_CALLS = 25, 10
FILL_S, FILL_CALLS, FILL_BYTES = 0.3, 2000, 2**26
"""So long, so often and for so much memory is a function called on before a leak is believed."""
DRY_ROUNDS = 2
LEAST_BLOCKS_PER_CALL, LEAST_BYTES_PER_CALL = 1 / FEWEST_CALLS, 512
STANDARD_STREAMS = (0, 1, 2)
ROUND_S = 0.05
PAUSES_S = (0.002, 0.008)
LAST_PAUSES_S = (0.01, 0.02, 0.04, 0.08)
MORE_PAUSES = 10  # of the last length, for as long as each look finds fewer
ENDING_BY_THEMSELVES = {"thread", "task"}
COLLECTIONS = 2  # what a finalizer drops waits for the second
TOO_LOW = "the limit on descriptors is too low for one call"
NOBODY = "nobody: a plain number is closed only by os.close()"


@dataclass(frozen=True)
class Sight:
    """What the rounds look at: `opened`, a tracker that is on, and figures to read besides.

    `readings` are by the name that the evidence calls them; `find_holders` looks for who holds what
    leaks.
    """

    opened: Tracker
    readings: Mapping[str, Reading] = field(default_factory=dict)
    find_holders: "FindHolders | None" = None


def check(call: Call, plan: Plan, sight: Sight | None = None) -> Result:
    """Call `call` in rounds and judge what grows.

    Args:
        call: takes no arguments; a coroutine function is awaited in one event loop of its own.
        plan: how often.
        sight: what to look at; by default a tracker is made for the rounds.

    Raises:
        UsageError: `call` returned an awaitable although it is no coroutine function.
        Exception: whatever `call` raises, except running out of descriptors, which is judged.
    """
    if is_async(call):
        import asyncio

        return asyncio.run(_Rounds(call, plan, asyncio.sleep).run(sight))
    return _finish(_Rounds(call, plan, _sleep).run(sight))


async def check_async(call: Call, plan: Plan, sight: Sight) -> Result:
    """Do the same with a coroutine function in the event loop that runs."""
    import asyncio

    return await _Rounds(call, plan, asyncio.sleep).run(sight)


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
        self._made = 0
        self._counts: list[Counter[Key]] = []
        self._memory: list[Allocated] = []
        self._own_blocks = 0
        self._late: Counter[str] = Counter()

    async def run(self, sight: Sight | None) -> Result:
        if sight is not None:
            return await self._run(sight)
        with Tracker() as tracker:
            return await self._run(Sight(tracker))

    async def _run(self, sight: Sight) -> Result:
        if refusal := await self._refused(sight):
            with limited(math.inf):  # to look at what is open takes descriptors
                return self._exhausted(refusal, sight)
        await self._settle_last(sight)
        leaking = self._keys(Trend.GROWING)
        if not leaking and self._memory_grew():
            return await self._look_at_memory()
        return self._result(leaking, sight)

    async def _refused(self, sight: Sight) -> str:
        """Make all rounds; return what was said where no more could be had, or "".

        That is the system, of descriptors, or a pool, of what the calls themselves have piled up.
        """
        try:
            await self._warm_up()
            await self._count(sight)
            for _ in range(DRY_ROUNDS):
                await self._count(sight)
            self._begin()
            for _ in range(self._plan.rounds):
                await self._round(sight)
            if self._keys(Trend.UNCLEAR) or (
                not self._keys(Trend.GROWING) and self._memory_rises()
            ):
                for _ in range(self._plan.rounds):
                    await self._round(sight)
        except Exception as error:
            out = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
            if not out and not self._piled_up(sight):
                raise
            # not the error: its traceback holds what the call had open
            return str(error) if out else f"{type(error).__name__}: {error}"
        return ""

    def _begin(self) -> None:
        """Begin with the last count so far, of nothing: what it kept, each will keep."""
        self._own_blocks = min(later.blocks - each.blocks for each, later in pairwise(self._memory))
        del self._memory[:-1], self._counts[:-1]

    async def _warm_up(self) -> None:
        """Make the first calls; their median tells how many fit into a round.

        A call that imports something, or in which the machine was busy, says nothing of the others.
        """
        took_s = sorted([await self._timed() for _ in range(self._plan.warm_up)])
        if self._plan.calls is None and took_s:
            fitting = int(ROUND_S / max(took_s[len(took_s) // 2], 1e-9))
            self._calls = min(CALLS, max(FEWEST_CALLS, fitting))

    async def _timed(self) -> float:
        started_s = time.perf_counter()
        await self._calls_of(1)
        return time.perf_counter() - started_s

    async def _calls_of(self, number: int) -> None:
        for _ in range(number):
            result = self._call()
            if self._awaits:
                await result  # type: ignore[misc]
                await self._rest(0)  # else the loop never forgets what was cancelled
            elif inspect.isawaitable(result):
                getattr(result, "close", lambda: None)()
                raise UsageError("it returned a coroutine: declare it with async def")
            elif inspect.isgenerator(result) or inspect.isasyncgen(result):
                raise UsageError("it returned a generator, which nobody runs: go through it inside")
            elif isinstance(result, MANAGERS):
                raise UsageError("it returned a context manager, which nobody enters: do so inside")
            self._made += 1

    async def _round(self, sight: Sight) -> None:
        await self._calls_of(self._calls)
        before = Counter(kind for kind, _, _ in _keys(_open(sight.opened)))
        await self._count(sight)
        after: Counter[str] = Counter()
        for (kind, _, _), number in self._counts[-1].items():
            after[kind] += number
        self._late |= before - after

    async def _count(self, sight: Sight) -> None:
        """Note what is open: at once if nothing grew, else after a bounded back-off."""
        former = self._counts[-1] if self._counts else None
        count = _look(sight)
        for pause_s in PAUSES_S:
            if former is not None and not count - former:
                break
            await self._rest(pause_s)
            count = _look(sight)
        self._counts.append(count)
        self._memory.append(allocated())

    async def _settle_last(self, sight: Sight) -> None:
        """Give what still grows a longer time to close before it is called a leak.

        Threads and tasks have all of it: they end by themselves, each when it has its turn. For the
        rest there is more time only while something closes.
        """
        more = repeat(LAST_PAUSES_S[-1], MORE_PAUSES)
        for number, pause_s in enumerate(chain(LAST_PAUSES_S, more), 1):
            growing = {kind for kind, _, _ in self._keys(Trend.GROWING)}
            if not growing:
                return
            await self._rest(pause_s)
            count = _look(sight)
            has_time = number < len(LAST_PAUSES_S) and growing & ENDING_BY_THEMSELVES
            if count == self._counts[-1] and not has_time:
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

    def _exhausted(self, refusal: str, sight: Sight) -> Result:
        """Judge what is open when a call was refused: all that is new is the leak.

        Where nothing is, the limit was too low for the calls themselves.
        """
        calls = max(self._made - (self._plan.warm_up if self._counts else 0), 1)
        keys = {
            key: Growth(Trend.GROWING, count, count / calls)
            for key, count in self._piled_up(sight).items()
        }
        if not keys:
            return Result("unknown", reason=f"{refusal}, and nothing stays open: {TOO_LOW}")
        found = _evidence(keys, sight)
        return Result("leak", calls, len(self._counts), found, reason=refusal)

    def _piled_up(self, sight: Sight) -> dict[Key, int]:
        """Return what more is open than at first, by so much that it is no coincidence."""
        grown = _look(sight) - (self._counts[0] if self._counts else Counter())
        return {key: count for key, count in grown.items() if count >= FEWEST_CALLS}

    def _result(self, leaking: Mapping[Key, Growth], sight: Sight) -> Result:
        rounds = len(self._counts) - 1
        if not leaking:
            late, more = dict(self._late), self._more()
            return Result("clean", rounds * self._calls, rounds, late=late, more=more)
        leaks = _evidence(leaking, sight)
        return Result("leak", rounds * self._calls, rounds, leaks, dict(self._late))

    def _more(self) -> dict[str, int]:
        """Count by kind what is open more than at first: a pool filled, or a rare leak hides."""
        more: Counter[str] = Counter()
        for (kind, _, _), number in (self._counts[-1] - self._counts[0]).items():
            more[kind] += number
        return dict(more)

    def _memory_rises(self) -> bool:
        """Tell whether it does in each round: then as many more tell a leak from what fills."""
        return self._plan.memory and any(
            all(later > each for each, later in pairwise(figures))
            and figures[-1] - figures[0] >= least * self._calls * self._plan.rounds
            for figures, least in self._figures(self._memory, self._own_blocks)
        )

    def _memory_grew(self) -> bool:
        """Judge the last rounds alone: what a first call leaves for good comes before them."""
        last = self._memory[-self._plan.rounds - 1 :]
        return self._memory_rises() and self._grows(last, judge_growth, self._own_blocks)

    def _grows(self, memory: list[Allocated], judge: Judge, own_blocks: int = 0) -> bool:
        judged = (
            (judge(figures, self._calls), least)
            for figures, least in self._figures(memory, own_blocks)
        )
        return any(
            growth.trend is Trend.GROWING and growth.per_call >= least for growth, least in judged
        )

    @staticmethod
    def _figures(memory: list[Allocated], own_blocks: int) -> Iterator[tuple[list[int], float]]:
        """Yield small blocks and large bytes, each with how much per call is enough to tell of."""
        blocks = [each.blocks - own_blocks * at for at, each in enumerate(memory)]
        yield blocks, LEAST_BLOCKS_PER_CALL
        yield [each.large_bytes for each in memory], LEAST_BYTES_PER_CALL

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
        if leaks and not await self._goes_on_growing():
            leaks = ()
        calls = self._calls * self._plan.rounds
        verdict: Verdict = "leak" if leaks else "clean"
        return Result(verdict, calls, self._plan.rounds, leaks, dict(self._late), "", self._more())

    async def _goes_on_growing(self) -> bool:
        """Tell whether memory grows on for twice as many rounds: a cache may have been filling.

        Of a full one the trace shows what came as growth, for what went was not traced.
        """
        await self._fill()
        gc.collect()
        memory = [allocated() for _ in range(3)]  # the lists' own growth, with no call in between
        own_blocks = min(later.blocks - each.blocks for each, later in pairwise(memory))
        del memory[:-1]
        for _ in range(2 * self._plan.rounds):
            await self._calls_of(self._calls)
            gc.collect()
            memory.append(allocated())
        return self._grows(memory, judge_coarsely, own_blocks)

    async def _fill(self) -> None:
        """Call on for a moment: a cache takes as many calls to fill as it has room for.

        On a machine that stands still meanwhile it would fill no further, and look like a leak.
        """
        patience, before = Patience(FILL_S), allocated()
        for made in range(FILL_CALLS):
            if made % self._calls == 0 and _more_bytes(before) > FILL_BYTES:
                return
            if not patience.lasts():
                return
            await self._calls_of(1)


def _more_bytes(before: Allocated) -> int:
    return allocated().large_bytes - before.large_bytes


def _look(sight: Sight) -> Counter[Key]:
    """Count what is open, and take the readings; what cannot be read counts as nothing."""
    count = count_open(sight.opened)
    for name, reading in sight.readings.items():
        count[name, (), ""] = int(reading() or 0)
    return count


def _evidence(leaking: Mapping[Key, Growth], sight: Sight) -> tuple[Leak, ...]:
    """Return the evidence on what grew; of a figure there is only by how much."""
    figures = tuple(
        Leak(key[0], growth.count, growth.per_call, (), ())
        for key, growth in leaking.items()
        if key[0] in sight.readings
    )
    resources = {key: each for key, each in leaking.items() if key[0] not in sight.readings}
    return leaks_of(resources, sight.opened, sight.find_holders) + figures


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


def leaks_of(
    leaking: Mapping[Key, Growth], tracker: Tracker, find: "FindHolders | None" = None
) -> tuple[Leak, ...]:
    """Return the evidence on what grew: where it was opened, and by what it is held."""
    from harness.holders import find_holders
    from harness.report import UNTRACED, group_by_origin

    opened = [each for each in _open(tracker) if (each.kind, each.stack[:1], each.via) in leaking]
    groups = group_by_origin(opened, find or find_holders)
    found = []
    for group in groups:
        growth = leaking[group.kind, group.stack[:1], group.via]
        held_by = group.held_by
        if not held_by and group.stack:
            held_by = (NOBODY if group.is_number else UNTRACED,)
        per_call = growth.per_call
        found.append(Leak(group.kind, growth.count, per_call, group.stack, held_by, group.via))
    return tuple(sorted(found, key=lambda leak: -leak.count))
