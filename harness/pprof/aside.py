"""Work in a thread that is no part of the picture, so that no event loop waits for it."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from harness.pprof.goroutines import OBSERVER

T = TypeVar("T")


async def aside(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, gone when it is done, and return its result.

    Threads share the interpreter's lock in turns of some milliseconds, so that every event loop
    runs on meanwhile. What `work` raises is raised here.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = _twice(work)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            _tell(loop, done, partial(done.set_exception, error))
        else:
            _tell(loop, done, partial(done.set_result, result))

    try:
        threading.Thread(target=run, name=f"{OBSERVER}aside", daemon=True).start()
    except RuntimeError:  # no thread is left either: then the loop waits
        run()
    return await done


def _twice(work: Callable[[], T]) -> T:
    """Do `work`, once more where another look at the heap broke it (`collector.known` says how)."""
    try:
        return work()
    except SystemError:
        return work()


def _tell(
    loop: asyncio.AbstractEventLoop, done: "asyncio.Future[T]", say: Callable[[], None]
) -> None:
    def unless_cancelled() -> None:
        if not done.done():
            say()

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(unless_cancelled)
