"""Which asyncio tasks are alive, in every running loop of this process."""

import asyncio
import sys
from asyncio import AbstractEventLoop, tasks
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

from harness.probes.calls import calls_of_threads

AnyTask = asyncio.Task[Any]
Predicate = Callable[[AnyTask], bool]

_REGISTRIES = ("_all_tasks", "_scheduled_tasks", "_eager_tasks")
"""Where CPython keeps its tasks: the first until 3.11, the others since 3.12. From 3.14 on they
hold only tasks of foreign classes, and asyncio has to be asked loop by loop."""

_ATTEMPTS = 1000


def all_tasks() -> list[AnyTask]:
    """Return every task that is not done, of every running loop; callable from any thread.

    `asyncio.all_tasks` answers for one loop and has to be told which. Loops written in C that no
    Python frame shows are found on Python before 3.14 only.
    """
    found = dict.fromkeys(_registered())
    for loop in _loops_without_registry():
        found.update(dict.fromkeys(asyncio.all_tasks(loop)))
    return [task for task in found if not task.done() and task.get_loop().is_running()]


def count(exclude: Predicate | None = None) -> int:
    """Return the number of tasks alive, without those for which `exclude` is true."""
    return sum(not (exclude and exclude(task)) for task in all_tasks())


def other_than(name: str, loop: AbstractEventLoop) -> Predicate:
    """Return a predicate that is true for the tasks of `loop` that are not called `name`.

    A server in a loop of its own is one task in the picture; those that answer its requests are
    the observer.
    """
    return lambda task: task.get_loop() is loop and task.get_name() != name


def running_loops() -> list[AbstractEventLoop]:
    """Return the loop that each thread runs, as far as a Python frame of it shows it."""
    found = (_loop_of(calls) for calls in calls_of_threads().values())
    return [loop for loop in found if loop is not None]


def _loops_without_registry() -> list[AbstractEventLoop]:
    return running_loops() if sys.version_info >= (3, 14) else []


def _registered() -> list[AnyTask]:
    found: list[AnyTask] = []
    for name in _REGISTRIES:
        found += _copy(getattr(tasks, name, ()))
    return found


def _copy(registry: Iterable[AnyTask]) -> list[AnyTask]:
    """Copy a set that other threads change meanwhile, as `asyncio.all_tasks` does: by repeating."""
    for _ in range(_ATTEMPTS):
        try:
            return list(registry)
        except RuntimeError:
            continue
    raise RuntimeError(f"asyncio's set of tasks changed during each of {_ATTEMPTS} copies of it")


def _loop_of(calls: Sequence[FrameType]) -> AbstractEventLoop | None:
    for frame in calls:
        if frame.f_code.co_name == "run_forever":
            loop = frame.f_locals.get("self")
            if isinstance(loop, AbstractEventLoop):
                return loop
    return None
