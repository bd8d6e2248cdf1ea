"""The task and thread probes see every loop and thread, and let the observer be left out."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness.probes import tasks, threads
from tests.pprof.programs import HANGS_S


@contextmanager
def loop_in_thread(name: str) -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop in a thread of its own until the block ends, then cancel what is left in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=name, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(HANGS_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(HANGS_S)
        loop.close()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _started(name: str) -> asyncio.Task[bool]:
    task = asyncio.create_task(asyncio.Event().wait(), name=name)
    await asyncio.sleep(0)
    return task


def start(loop: asyncio.AbstractEventLoop, name: str) -> asyncio.Task[bool]:
    """Start a task called `name` in `loop` that waits until it is cancelled."""
    return asyncio.run_coroutine_threadsafe(_started(name), loop).result(HANGS_S)


def named(name: str) -> list[str]:
    """Return the names of the tasks found that begin with `name`."""
    return sorted(t.get_name() for t in tasks.all_tasks() if t.get_name().startswith(name))


def test_tasks_of_every_running_loop_are_seen_from_any_thread() -> None:
    """Two loops in two threads: a third thread sees the tasks of both, and none once they end."""
    with loop_in_thread("one") as one, loop_in_thread("two") as two:
        first, _second = start(one, "probe-1"), start(two, "probe-2")
        assert named("probe-") == ["probe-1", "probe-2"]
        one.call_soon_threadsafe(first.cancel)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), one).result(HANGS_S)
        assert named("probe-") == ["probe-2"]
    assert named("probe-") == []


def test_loops_are_found_by_their_threads_frames() -> None:
    """The way that Python 3.14 needs finds each loop that runs, and not one that has ended."""
    with loop_in_thread("one") as one, loop_in_thread("two") as two:
        start(one, "probe"), start(two, "probe")
        assert {one, two} <= set(tasks.running_loops())
    assert not {one, two} & set(tasks.running_loops())


def test_the_servers_own_requests_can_be_left_out() -> None:
    """Of the debug server's loop, only its long-lived task counts."""
    with loop_in_thread("server") as loop:
        before = tasks.count()
        # Kept: a loop holds its tasks weakly, and these wait for what only they know.
        kept = [start(loop, name) for name in ("debug-server", "request-1", "request-2")]
        assert tasks.count() == before + 3
        assert tasks.count(tasks.other_than("debug-server", loop)) == before + 1
        assert len(kept) == 3


def test_threads_are_counted_by_name() -> None:
    """A thread that runs is counted under its name, one that has ended is not."""
    before, release = threads.count(), threading.Event()
    thread = threading.Thread(target=release.wait, name="probed")
    thread.start()
    assert threads.count() == before + 1
    assert "probed" in threads.names().values()
    assert threads.count(exclude=lambda name: name == "probed") == before
    release.set()
    thread.join()
    assert threads.count() == before
