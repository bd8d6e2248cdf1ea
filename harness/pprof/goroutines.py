"""Everything that runs at the same time in this process: asyncio tasks, and threads.

A Go program has one word for both. A thread that runs an event loop is left out of the count, as
Go leaves out the threads under its goroutines: what it does is its tasks.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Iterable
from itertools import dropwhile
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from harness.collector import no_collection
from harness.pprof import waits
from harness.pprof.await_chain import coroutines, frame_of, socket_of, waited_for, waits_for_tasks
from harness.pprof.frames import Frames
from harness.pprof.profile import Frame, Labels, Profile, Sample, Stack, ValueType
from harness.pprof.thread_state import thread_state
from harness.probes import tasks, threads
from harness.probes.calls import calls_of_threads

OBSERVER = "debug-server-"
"""How the names of the threads begin that only watch: they are never in the picture."""

EVENT_LOOP = "event loop"
_RUNS_LOOP = {"asyncio.base_events.BaseEventLoop.run_forever", "asyncio.runners.Runner.run"}
_ASIDE = "harness.pprof.aside.aside"
_ASYNCIO = str(Path(asyncio.__file__).parent)
_NAMED_MAX = 3
_CROSSINGS_MAX = 32
_COUNT = ValueType("goroutine", "count")


class Goroutine(NamedTuple):
    """A task or a thread at one moment; `kind` is `task`, `thread` or `event loop`.

    `number` stays the same as long as it lives. `created_at` is `file:line`, known for tasks of
    loops in debug mode only.
    """

    number: int
    kind: str
    name: str
    thread: str
    state: str
    waits_on: str
    created_at: str
    stack: Stack

    def labels(self) -> Labels:
        """Return what a profile says of it besides its stack; unknown things are left out."""
        shown = ("kind", "name", "thread", "state", "waits_on", "created_at")
        return tuple((name, text) for name in shown if (text := getattr(self, name)))


class Known(NamedTuple):
    """What is the same for all tasks that stand at the same place, and looked up once."""

    stack: Stack
    wait: tuple[str, str] | None
    waits_for_tasks: bool


class Numbers:
    """Gives each task and thread a number of its own, without keeping it alive."""

    def __init__(self) -> None:
        """Begin at 1."""
        self._known: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._last = 0

    def of(self, thing: object) -> int:
        """Return the number of `thing`, a new one where it has none."""
        number = self._known.get(thing)
        if number is None:
            self._last += 1
            number = self._known[thing] = self._last
        return number


class Snapshot:
    """Looks at all tasks and threads once, from any thread, without stopping the program.

    What moves on while it is looked at may show a stack that is half before and half after.
    """

    def __init__(self, numbers: Numbers, exclude: tasks.Predicate | None = None) -> None:
        """Number what is found by `numbers`; leave out the tasks that `exclude` accepts.

        The threads' calls are noted at once: a moment later some have returned, and what has
        returned does not know its caller.
        """
        self._numbers = numbers
        self._exclude = exclude
        self._frames = Frames()
        self._calls = calls_of_threads()
        self._names = threads.names()
        self._known: dict[tuple[int, ...], Known] = {}
        self._chains: dict[tasks.AnyTask, list[Any]] = {}

    def goroutines(self) -> list[Goroutine]:
        """Return the tasks, then the threads, then the threads that run event loops."""
        with no_collection():
            return self._goroutines()

    def _goroutines(self) -> list[Goroutine]:
        alive = tasks.all_tasks()
        loops = {_thread_of(task) for task in alive}
        shown = sorted((task for task in alive if not self._excluded(task)), key=_by_name)
        found = [self._task(task) for task in shown]
        return found + sorted(self._threads(loops), key=lambda each: each.kind == EVENT_LOOP)

    def _excluded(self, task: tasks.AnyTask) -> bool:
        return self._exclude is not None and self._exclude(task)

    def _task(self, task: tasks.AnyTask) -> Goroutine:
        state, waits_on, stack = self._running(task) or self._waiting(task)
        thread = self._names.get(_thread_of(task), "")
        number = self._numbers.of(task)
        created = _created_at(task)
        return Goroutine(number, "task", task.get_name(), thread, state, waits_on, created, stack)

    def _running(self, task: tasks.AnyTask) -> tuple[str, str, Stack] | None:
        """Return state and stack of a task that runs now: its thread's calls down to it."""
        bottom = frame_of(task.get_coro())
        if not getattr(task.get_coro(), "cr_running", False) or bottom is None:
            return None
        calls = self._calls.get(_thread_of(task), [])
        own = calls[: calls.index(bottom) + 1] if bottom in calls else [bottom]
        return waits.RUNNING, "", self._stack(own)

    def _stack(self, calls: list[FrameType]) -> Stack:
        return tuple(map(self._frames.frame, calls))

    def _waiting(self, task: tasks.AnyTask) -> tuple[str, str, Stack]:
        chain = self._chain(task)
        own = self._known_place(chain)
        if own.wait is None and getattr(task, "_fut_waiter", None) is None:
            return waits.RUNNABLE, "", own.stack
        through, others = waited_for(task, chain, own.waits_for_tasks)
        state, waits_on = self._wait(chain, own.wait, through, others)
        if not (others or through):
            return state, waits_on, own.stack
        return state, waits_on, self._across(others, {task}, through) + own.stack

    def _wait(
        self,
        chain: list[Any],
        known: tuple[str, str] | None,
        through: str,
        others: list[tasks.AnyTask],
    ) -> tuple[str, str]:
        if others:
            state = waits.GROUP if through == "asyncio.gather" else waits.RECEIVE
            return known[0] if known else state, _named(others)
        if known and known[1] != "Event.wait":
            return known
        if connection := socket_of(chain):
            return waits.IO_WAIT, connection
        return known or (waits.RECEIVE, "Future")

    def _across(self, others: list[tasks.AnyTask], seen: set[tasks.AnyTask], through: str) -> Stack:
        """Return the stack of the first task waited for, and of what that waits for in turn."""
        stack: Stack = ()
        while True:
            stack = ((Frame.at(through, "", 0),) if through else ()) + stack
            if not others or others[0] in seen or len(seen) > _CROSSINGS_MAX:
                return stack
            first = others[0]
            seen.add(first)
            chain = self._chain(first)
            place = self._known_place(chain)
            stack = place.stack + stack
            through, others = waited_for(first, chain, place.waits_for_tasks)

    def _chain(self, task: tasks.AnyTask) -> list[Any]:
        chain = self._chains.get(task)
        if chain is None:
            chain = self._chains[task] = coroutines(task)
        return chain

    def _known_place(self, chain: list[Any]) -> Known:
        frames = [self._frames.frame(frame) for each in chain if (frame := frame_of(each))]
        key = tuple(map(id, frames))  # each place in the code has one Frame, kept by _frames
        known = self._known.get(key)
        if known is None:
            stack = tuple(reversed(frames))
            known = Known(stack, waits.known_wait(stack), waits_for_tasks(stack))
            self._known[key] = known
        return known

    def _threads(self, loops: set[int]) -> list[Goroutine]:
        known = {thread.ident: thread for thread in threading.enumerate()}
        own = threading.get_ident()
        return [
            self._thread(ident, calls, known.get(ident), ident in loops)
            for ident, calls in self._calls.items()
            if ident != own and not self._names.get(ident, "").startswith(OBSERVER)
        ]

    def _thread(
        self, ident: int, calls: list[FrameType], thread: threading.Thread | None, has_loop: bool
    ) -> Goroutine:
        name, stack = self._names.get(ident, ""), without_observer(self._stack(calls))
        number = self._numbers.of(thread) if thread else ident
        if has_loop or any(each.function in _RUNS_LOOP for each in stack):
            return Goroutine(number, EVENT_LOOP, name, name, EVENT_LOOP, "", "", stack)
        state, waits_on = thread_state(calls[0], stack, thread.native_id if thread else None)
        return Goroutine(number, "thread", name, name, state, waits_on, "", stack)


def without_observer(stack: Stack) -> Stack:
    """Return the stack of a thread without what it does for a request of ours, down to its loop."""
    if not any(frame.function == _ASIDE for frame in stack):
        return stack
    return tuple(dropwhile(lambda frame: frame.function not in _RUNS_LOOP, stack))


def profile(goroutines: Iterable[Goroutine]) -> Profile:
    """Return the goroutine profile of a snapshot: tasks, and threads that run no event loop."""
    return Profile(
        types=(_COUNT,),
        samples=tuple(_sample(each) for each in goroutines if each.kind != EVENT_LOOP),
        period_type=_COUNT,
        time_ns=time.time_ns(),
        program=Path(sys.argv[0]).name or "python",
    )


def thread_profile(goroutines: Iterable[Goroutine]) -> Profile:
    """Return every thread that runs Python, those with an event loop too, with its stack."""
    kind = ValueType("threadcreate", "count")
    samples = tuple(_sample(each) for each in goroutines if each.kind != "task")
    program = Path(sys.argv[0]).name or "python"
    return Profile((kind,), samples, kind, time_ns=time.time_ns(), program=program)


def _by_name(task: tasks.AnyTask) -> tuple[int, str]:
    """Put Task-9 before Task-10."""
    name = task.get_name()
    return len(name), name


def _sample(goroutine: Goroutine) -> Sample:
    return Sample(goroutine.stack, (1,), goroutine.labels())


def _thread_of(task: tasks.AnyTask) -> int:
    """Return the identifier of the thread that runs the task's loop, 0 for loops that hide it."""
    return getattr(task.get_loop(), "_thread_id", None) or 0


def _created_at(task: tasks.AnyTask) -> str:
    """Return where the task was created; only a loop in debug mode keeps it."""
    sites = getattr(task, "_source_traceback", None) or ()
    outside = (each for each in reversed(sites) if not each.filename.startswith(_ASYNCIO))
    site = next(outside, None)
    return f"{site.filename}:{site.lineno}" if site else ""


def _named(others: list[tasks.AnyTask]) -> str:
    """Return `Task-1, Task-2, Task-3 and 7 more`."""
    names = ", ".join(task.get_name() for task in others[:_NAMED_MAX])
    more = len(others) - _NAMED_MAX
    return f"{names} and {more} more" if more > 0 else names
