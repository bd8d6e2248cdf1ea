"""Coroutines that wait in every way there is, and a loop in a thread to run them in."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from harness.patience import Patience
from harness.pprof.goroutines import Goroutine, Numbers, Snapshot

Make = Callable[[], Coroutine[Any, Any, Any]]
HANGS_S = 60.0
"""What takes longer hangs; a machine that stands still for some seconds is none of that."""


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self, name: str = "program", debug: bool = False) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_debug(debug)
        self._kept: list[asyncio.Task[Any]] = []  # a loop holds its tasks weakly
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run `coroutine` in the loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(HANGS_S)

    def start(self, make: Make, name: str, turns: int = 8) -> asyncio.Task[Any]:
        """Start a task called `name` and let it come to where it waits."""

        async def started() -> asyncio.Task[Any]:
            task = asyncio.create_task(make(), name=name)
            for _ in range(turns):
                await asyncio.sleep(0)
            return task

        task = self.run(started())
        self._kept.append(task)
        return task

    def close(self) -> None:
        """Cancel all tasks and end the thread."""

        async def cancel() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await self.loop.shutdown_asyncgens()

        self._kept.clear()
        self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(HANGS_S)
        self.loop.close()


@contextmanager
def loop_thread(debug: bool = False, name: str = "program") -> Iterator[LoopThread]:
    """Run a loop in a thread until the block ends."""
    thread = LoopThread(name, debug)
    try:
        yield thread
    finally:
        thread.close()


def wait_until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    """Return as soon as `condition` holds; fail after `limit_s` seconds in which it could."""
    assert Patience(limit_s).until(condition), "it did not come about"


def snapshot() -> list[Goroutine]:
    """Return what is alive now."""
    return Snapshot(Numbers()).goroutines()


def find(name: str) -> Goroutine:
    """Return the one goroutine of this name."""
    (found,) = [each for each in snapshot() if each.name == name]
    return found


def find_when(name: str, condition: Callable[[Goroutine], bool]) -> Goroutine:
    """Return the one goroutine of this name as it was at the first look that fits `condition`.

    What is asked of it then is that look's: at the next one it may have gone on.
    """
    looks: list[Goroutine] = []

    def fits() -> bool:
        looks[:] = [find(name)]
        return condition(looks[0])

    wait_until(fits)
    return looks[0]


def functions(goroutine: Goroutine) -> list[str]:
    """Return the functions on the stack, outermost first, without their module."""
    return [frame.function.rpartition("programs.")[2] for frame in reversed(goroutine.stack)]


async def leaf() -> None:
    """Wait in a place of its own."""
    await asyncio.Event().wait()


async def gathered() -> None:
    await asyncio.gather(leaf(), leaf())


async def timed() -> None:
    await asyncio.wait_for(leaf(), 60)


async def shielded() -> None:
    await asyncio.shield(leaf())


async def waits_for_task() -> None:
    await asyncio.create_task(leaf(), name="inner")


async def waits_for_first() -> None:
    await asyncio.wait([asyncio.create_task(leaf(), name="inner")])


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="inner")


async def generated() -> AsyncIterator[int]:
    await leaf()
    yield 1


async def iterates() -> None:
    async for _ in generated():
        pass


async def takes_next() -> None:
    await anext(generated(), None)


async def waits_as_completed() -> None:
    for each in asyncio.as_completed([leaf()]):
        await each


class Awaitable:
    """An object that awaits a coroutine in `__await__`."""

    def __await__(self) -> Any:
        return leaf().__await__()


async def awaits_object() -> None:
    await Awaitable()


async def receives_from_queue() -> None:
    await asyncio.Queue[int]().get()


async def sends_to_queue() -> None:
    queue = asyncio.Queue[int](1)
    await queue.put(1)
    await queue.put(2)


async def locks_twice() -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


async def waits_for_semaphore() -> None:
    await asyncio.Semaphore(0).acquire()


async def waits_for_condition() -> None:
    condition = asyncio.Condition()
    async with condition:
        await condition.wait()


async def waits_for_future() -> None:
    await asyncio.get_running_loop().create_future()


async def sleeps() -> None:
    await asyncio.sleep(60)


async def reads_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        await asyncio.get_running_loop().sock_recv(near, 1)


async def reads_stream(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await reader.read()
    finally:
        writer.close()
