"""Paces a workload, samples its gauges, feeds the sinks and returns a Run; nothing else."""

import asyncio
import errno
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from .clock import Clock
from .errors import UsageError
from .model import (
    Ended,
    Event,
    Exhaustion,
    Failure,
    Gauge,
    Reading,
    Run,
    Sample,
    Sampled,
    Sink,
    Started,
    Traced,
    Workload,
)
from .samples import with_one_more
from .verdict import judge_all

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""The operating system has no more to give: going on would only repeat the same error."""

SETTLE_S = 0.25
"""An operation that could have run for longer hangs: time without a processor does not count."""
PATIENCE = 0.8
"""How much of its period an operation may wait for the one before it."""
BLINK_S = 0.001
"""Too short a time without a processor to wait once more for."""
UnderWay = dict[asyncio.Task[None], float]
"""The operations that have not ended, each with its start in seconds of `Runner._attended_s`."""


@asynccontextmanager
async def cancelled_after() -> AsyncIterator[UnderWay]:
    """Yield a place for operations under way; those that are left in it at the end are cancelled.

    The views of a run are taken before: what hangs belongs into them. A run that is interrupted
    leaves them to `asyncio.run`, which cancels everything: twice would cut off their cleaning up.
    """
    under_way: UnderWay = {}
    yield under_way
    left = list(under_way)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@dataclass(frozen=True)
class Step:
    """What is due at `due_s` after the start: an operation, or a report (`operation` is None)."""

    due_s: float
    operation: int | None


@dataclass(frozen=True)
class Pace:
    """How fast and how long: operation k (from 0) is due at k / `rate_hz`.

    So at each report exactly rate × elapsed operations were due before it, whatever the time
    that each of them took.
    """

    rate_hz: float
    report_every_s: float
    duration_s: float = math.inf

    def steps(self) -> Iterator[Step]:
        """Yield what is due, in order; for ever when the duration is infinite."""
        done = 0
        for due_s in self._report_times():
            target = math.ceil(round(self.rate_hz * due_s, 6))
            yield from (Step(number / self.rate_hz, number) for number in range(done, target))
            yield Step(due_s, None)
            done = target

    def _report_times(self) -> Iterator[float]:
        number = 1
        while (due_s := number * self.report_every_s) < self.duration_s - 1e-9:
            yield due_s
            number += 1
        yield self.duration_s


class Runner:
    """One run in progress: what has been measured so far, and who is told of it.

    `survey` counts what is open by directory, `trace` finds the root cause of a leak. That search
    takes some megabytes: with `trace_last` it is made after the last sample, so that they are in no
    figure, else as soon as there is a verdict.
    """

    def __init__(
        self,
        run: Run,
        judged: Sequence[Gauge],
        readings: Mapping[Gauge, Reading],
        sinks: Sequence[Sink],
        clock: Clock,
        survey: Callable[[], Mapping[str, int]],
        trace: Callable[[], tuple[str, ...]],
        on_broken_sink: Callable[[Exception], None],
        trace_last: bool = False,
    ) -> None:
        self.run = run
        self._judged = judged
        self._readings = readings
        self._sinks = list(sinks)
        self._clock = clock
        self._survey = survey
        self._trace = trace
        self._trace_last = trace_last
        self._on_broken_sink = on_broken_sink
        self._began_s = clock.now_s()
        self._operations = 0
        self._failures: dict[str, Failure] = {}
        self._last: Sample | None = None

    def tell(self, event: Event) -> None:
        """Hand `event` to every sink; one that raises is reported once and dropped.

        An output that is closed or full is no failing view: it ends the run.
        """
        for sink in list(self._sinks):
            try:
                sink(event)
            except (BrokenPipeError, UsageError):
                raise
            except Exception as error:  # noqa: BLE001 - a failing view is not a failing run
                self._sinks.remove(sink)
                self._on_broken_sink(error)

    def start(self, notices: Sequence[str] = ()) -> None:
        """Take the first sample: the baseline, and time zero."""
        self._began_s = self._clock.now_s()
        self._record(self._sample())
        self.tell(Started(self.run, tuple(notices)))

    def end(self, interrupted: bool = False) -> Run:
        """Close the record with a verdict on all reports and tell the sinks.

        Where all of them together leave it open (a leak that filled a pool grows no more), the
        verdict that was reached on the way stands.

        An interrupted run is measured once more, so that what is shown is how it ended. That is no
        report: so soon after one, a leak need not have grown.
        """
        verdict = judge_all(self.run.samples, self._judged)
        if interrupted:
            self._record(self._last or self._sample())
        if verdict.leaking is not None or self.run.verdict is None:
            self.run = replace(self.run, verdict=verdict)
        if self._trace_last and self.run.verdict and self.run.verdict.leaking:
            self._tell_cause()
        self.tell(Ended(self.run, interrupted))
        return self.run

    def look(self) -> None:
        """Measure how an interrupted run ends, before what ends it takes its tasks away."""
        self._last = self._sample()

    def drive(self, workload: Workload, steps: Iterator[Step]) -> None:
        """Make each step at its time; end early when a resource runs out."""
        for step in steps:
            self._clock.wait_until(self._began_s + step.due_s)
            if step.operation is None:
                self._report()
            elif not self._make(workload, step.operation):
                return

    async def drive_async(
        self, workload: Workload, steps: Iterator[Step], under_way: UnderWay
    ) -> None:
        """Do the same in an event loop, each operation in a task of its own.

        One that waits, for a pool or an answer, does not hold up the next, as in a server; a quick
        one is let end first (`PATIENCE`), so that a busy machine does not bunch them. Those that
        have not ended stay in `under_way`.
        """
        patience_s = PATIENCE / self.run.rate_hz
        for step in steps:
            await self._clock.wait_until_async(self._began_s + step.due_s)
            await self._settle(under_way, SETTLE_S if step.operation is None else patience_s)
            if self.run.exhaustion:
                break
            if step.operation is None:
                self._report()
            else:
                self._spawn(workload, step.operation, under_way)

    def failed(self, error: BaseException, operation: int) -> None:
        """Count a failed operation and show the first of its kind; see what ran out, if it did."""
        if refused := refusal(error):
            self._exhausted(refused)
            return
        kind = _name(type(error))
        before = self._failures.get(kind)
        if before:
            self._failures[kind] = replace(before, count=before.count + 1)
        else:
            elapsed_s = self._clock.now_s() - self._began_s
            first = Failure(kind, str(error), elapsed_s, operation + 1)
            self._failures[kind] = first
            self.tell(first)
        self.run = replace(self.run, failures=tuple(self._failures.values()))

    def _exhausted(self, refused: OSError) -> None:
        if self.run.exhaustion:
            return
        sample = self._record(self._sample())
        exhaustion = Exhaustion(sample, str(refused), self._survey())
        self.run = replace(self.run, exhaustion=exhaustion)
        self.tell(exhaustion)
        self._tell_cause()

    def _make(self, workload: Workload, operation: int) -> bool:
        """Make one operation; return whether the run can go on."""
        try:
            workload.operate(operation)
        except Exception as error:  # noqa: BLE001 - whatever the subject raises is shown
            self.failed(error, operation)
            if self.run.exhaustion:
                return False
        self._operations += 1
        return True

    def _spawn(self, workload: Workload, operation: int, under_way: UnderWay) -> None:
        self._operations += 1
        task = asyncio.create_task(self._make_async(workload, operation), name="operation")
        under_way[task] = self._attended_s()
        task.add_done_callback(under_way.pop)

    async def _settle(self, under_way: UnderWay, patience_s: float) -> None:
        """Let operations that have just begun end, for at most `patience_s`.

        Those that hang are part of the picture and are not waited for. A starved machine is: there
        the next operation waits for those before it, else they would pile up and look like a leak.
        """
        while patience_s >= BLINK_S and self._are_all_quick(under_way):
            before_s = self._clock.starved_s()
            await asyncio.wait(list(under_way), timeout=patience_s)
            patience_s = self._clock.starved_s() - before_s

    def _are_all_quick(self, under_way: UnderWay) -> bool:
        """Tell whether there are operations under way, none of which hangs."""
        now_s = self._attended_s()
        return bool(under_way) and now_s - min(under_way.values()) < SETTLE_S

    def _attended_s(self) -> float:
        """Return the time without that for which this thread had no processor."""
        return self._clock.now_s() - self._clock.starved_s()

    async def _make_async(self, workload: Workload, operation: int) -> None:
        try:
            made = workload.operate(operation)
            if isinstance(made, Awaitable):
                await made
        except Exception as error:  # noqa: BLE001 - whatever the subject raises is shown
            self.failed(error, operation)

    def _report(self) -> None:
        before = self.run.verdict
        sample = self._record(self._sample())
        verdict = judge_all(self.run.samples, self._judged)
        news = verdict.leaking is not None and (not before or before.leaking != verdict.leaking)
        if news:
            self.run = replace(self.run, verdict=verdict)
        self.tell(Sampled(sample, verdict if news else None))
        if news and verdict.leaking and not self._trace_last:
            self._tell_cause()

    def _tell_cause(self) -> None:
        """Say where what leaks was opened and who holds it; the report does not wait for that."""
        self.run = replace(self.run, evidence=self._trace())
        self.tell(Traced(self.run.evidence))

    def _record(self, sample: Sample) -> Sample:
        self.run = replace(self.run, samples=with_one_more(self.run.samples, sample))
        return sample

    def _sample(self) -> Sample:
        elapsed_s = self._clock.now_s() - self._began_s
        values = {gauge: reading() for gauge, reading in self._readings.items()}
        return Sample(elapsed_s, self._operations, values)


def _name(kind: type) -> str:
    """Return an exception class's name as a traceback has it."""
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def refusal(error: BaseException | None) -> OSError | None:
    """Return the operating system's refusal in an error's chain of causes, if there is one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
