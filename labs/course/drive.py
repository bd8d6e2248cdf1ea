"""Drives a subject through its lab's workload in rounds, and notes what that shows."""

import asyncio
import errno
import inspect
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType

from harness.check import describe
from harness.errors import UsageError
from harness.evidence import WHOLE_PATHS, from_subject
from harness.findings import Leak, Plan, Result
from harness.limits import limited
from harness.model import Exercise, Lab, Setting, Workload
from harness.patience import Patience
from harness.probes import fds
from harness.report import Frame, place
from harness.rounds import STANDARD_STREAMS, Sight, check, check_async
from harness.runner import refusal
from harness.tracker import Tracker

from .alarm import Hung, within
from .endings import Broken, described, line_in, told

OPERATION_S = 1.0
"""An operation that takes longer hangs."""
START_S = 3.0
"""So long may it take to make what the operations use."""
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


Outcome = tuple[str, str]
"""What an operation returned, as Python writes it, or raised; and at which line, if it raised."""
Drop = tuple[str, str]
"""A `ResourceWarning`, and where the subject had opened what it is about; empty: not seen."""


@dataclass(frozen=True)
class Driven:
    """What a drive showed, in words that can be compared with those of another drive.

    `broken` says why it did not get to its end; `leaks` is the evidence on what grew; `held` what
    the subject has open at the end, by kind; `dropped` what Python closed because nobody did;
    `closed` the standard streams that are gone.
    """

    broken: str = ""
    operations: int = 0
    results: tuple[Outcome, ...] = ()
    leaks: tuple[tuple[str, ...], ...] = ()
    held: Mapping[str, int] = field(default_factory=dict)
    dropped: tuple[Drop, ...] = ()
    closed: tuple[int, ...] = ()


def exercise(lab: Lab) -> Exercise:
    """Return how copies of a lab's leaky twin are judged.

    Raises:
        UsageError: the lab is not an exercise.
    """
    if lab.exercise is None:
        raise UsageError(f"{lab.name}: this lab has no exercise; labs/{lab.name}.py gives it one")
    return lab.exercise


class Drive:
    """One drive of `subject`; `done` takes what it showed while the workload still stands.

    It need not return: a copy's clean-up may hang, and is not what is judged.
    """

    def __init__(
        self, lab: Lab, subject: ModuleType, directory: Path, done: Callable[[Driven], None]
    ) -> None:
        self._subject = subject
        self._file = str(subject.__file__)
        self._judged = lab.judged
        self._exercise = exercise(lab)
        options = {each.key: 0 if each.is_port else each.default for each in lab.options}
        self._context = lab.workload(subject, Setting(directory, options, fds.count))
        self._done = done
        self._results: list[Outcome] = []
        self._warned: list[warnings.WarningMessage] = []
        self._dropped: list[Drop] = []

    def run(self) -> None:
        """Drive the subject; whatever goes wrong is in what `done` is given."""
        try:
            with limited(self._exercise.fd_limit), self._noticing_drops(), Tracker() as tracker:
                self._enter(tracker)
        except BaseException as error:  # noqa: BLE001 - a copy may raise anything
            self._done(self._broken(told("it", error, self._file)))

    def _enter(self, tracker: Tracker) -> None:
        if isinstance(self._context, AbstractAsyncContextManager):
            asyncio.run(self._drive_async(self._context, tracker))
            return
        with ExitStack() as stack:
            with within(START_S, self._file):
                workload = stack.enter_context(self._context)
            call = partial(self._operate, workload, tracker)
            try:
                driven = self._showed(check(call, *self._terms(workload, tracker)), tracker)
            except Broken as broken:
                driven = self._broken(str(broken))
            self._done(driven)

    async def _drive_async(
        self, context: AbstractAsyncContextManager[Workload], tracker: Tracker
    ) -> None:
        async with AsyncExitStack() as stack:
            async with Patience(START_S).timeout():
                workload = await stack.enter_async_context(context)

            async def call() -> None:
                await self._operate_async(workload, tracker)

            try:
                result = await check_async(call, *self._terms(workload, tracker))
                driven = self._showed(result, tracker)
            except Broken as broken:
                driven = self._broken(str(broken))
            self._done(driven)

    def _terms(self, workload: Workload, tracker: Tracker) -> tuple[Plan, Sight]:
        readings = {
            gauge.title: workload.readings[gauge]
            for gauge in self._judged
            if gauge in workload.readings
        }
        plan = Plan(calls=self._exercise.operations, memory=False)
        return plan, Sight(tracker, readings, WHOLE_PATHS)

    def _operate(self, workload: Workload, tracker: Tracker) -> None:
        number = len(self._results)
        try:
            with within(OPERATION_S, self._file):
                result = repr(workload.operate(number)), ""
        except BaseException as error:  # noqa: BLE001 - a copy may raise anything
            result = self._raised(number, error)
        self._results.append(result)
        self._note_drops(tracker)

    async def _operate_async(self, workload: Workload, tracker: Tracker) -> None:
        number = len(self._results)
        limit = None
        try:
            with within(2 * OPERATION_S, self._file):  # for what never gets back to the event loop
                async with Patience(OPERATION_S).timeout() as limit:
                    made = workload.operate(number)
                    result = repr(await made if inspect.isawaitable(made) else made), ""
        except BaseException as error:  # noqa: BLE001 - a copy may raise anything
            if limit and limit.expired() and error.__cause__ is not None:
                at = line_in(error.__cause__.__traceback__, self._file)
                error = Hung(OPERATION_S, at)
            result = self._raised(number, error)
        self._results.append(result)
        self._note_drops(tracker)

    def _raised(self, number: int, error: BaseException) -> Outcome:
        """Return an error as an operation's outcome; raise what ends the drive.

        Raises:
            Broken: the operation hung or tried to end the process.
            OSError: no descriptor was left, which the rounds judge.
            CancelledError: the event loop ends.
        """
        refused = refusal(error)
        if refused and refused.errno in _OUT_OF_DESCRIPTORS:
            raise refused
        if isinstance(error, asyncio.CancelledError):
            raise error
        if isinstance(error, Exception) and not isinstance(error, RecursionError):
            return described(error), line_in(error.__traceback__, self._file)
        raise Broken(told(f"operation {number + 1}", error, self._file))

    def _showed(self, result: Result, tracker: Tracker) -> Driven:
        if not result.leaks and result.calls < Plan.rounds * self._exercise.operations:
            raise Broken(
                f"operation {len(self._results) + 1} used up all {self._exercise.fd_limit} "
                "descriptors, and gave them back: open one at a time"
            )
        self._note_drops(tracker)
        with limited(math.inf):  # to look at what is open takes descriptors
            return Driven(
                operations=result.calls,
                results=tuple(self._results),
                leaks=tuple(self._evidence(leak, result.calls) for leak in self._own(result)),
                held=self._held(tracker),
                dropped=tuple(self._dropped),
                closed=closed_streams(),
            )

    def _broken(self, why: str) -> Driven:
        return Driven(broken=why, results=tuple(self._results), closed=closed_streams())

    def _own(self, result: Result) -> list[Leak]:
        """Return the leaks that the subject opened; where it opened none, all of them."""
        own = [leak for leak in result.leaks if any(at[0] == self._file for at in leak.opened_at)]
        return own or list(result.leaks)

    def _evidence(self, leak: Leak, operations: int) -> tuple[str, ...]:
        held_by = tuple(from_subject(path, self._subject) for path in leak.held_by[:1])
        if leak.kind in {gauge.title for gauge in self._judged}:
            grew = f"{leak.kind} grew by {leak.count} in {operations} operations"
            return (f"{grew} ({leak.growth_per_call:.3g} per operation); release what each takes",)
        own = tuple(at for at in leak.opened_at if at[0] == self._file)
        shown = replace(leak, held_by=held_by, opened_at=own or leak.opened_at[:1])
        return tuple(describe(shown, operations, "operation"))

    def _held(self, tracker: Tracker) -> dict[str, int]:
        """Count by kind what the subject has open."""
        opened = tracker.open_resources()
        own = (each.kind for each in opened if any(at[0] == self._file for at in each.stack))
        return dict(Counter(own))

    @contextmanager
    def _noticing_drops(self) -> Iterator[None]:
        """Keep what Python warns of as it closes what the last reference went to."""
        with warnings.catch_warnings(record=True) as self._warned:
            warnings.simplefilter("always", ResourceWarning)
            yield

    def _note_drops(self, tracker: Tracker) -> None:
        """Take down what was dropped, and let it go: each warning holds what it is about."""
        for warned in self._warned:
            if issubclass(warned.category, ResourceWarning):
                at = self._own_line(tracker.stack_of(warned.source))
                self._dropped.append((str(warned.message), at))
        self._warned.clear()

    def _own_line(self, stack: Sequence[Frame]) -> str:
        return next((place(at) for at in stack if at[0] == self._file), "")


def closed_streams() -> tuple[int, ...]:
    """Return which of the descriptors 0, 1 and 2 are closed."""
    return tuple(number for number in STANDARD_STREAMS if not _is_open(number))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
