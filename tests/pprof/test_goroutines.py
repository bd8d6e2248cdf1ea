"""A snapshot shows every task and thread, what it waits for, and the way there."""

import asyncio
import gc
import queue
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.pprof import await_chain
from harness.pprof.goroutines import Numbers, Snapshot, profile
from harness.pprof.text import grouped
from tests.pprof import programs
from tests.pprof.programs import (
    HANGS_S,
    find,
    find_when,
    functions,
    loop_thread,
    snapshot,
    wait_until,
)

ACROSS = {
    programs.gathered: "sync.WaitGroup.Wait",
    programs.timed: None,  # the coroutine itself from Python 3.12 on, a task of its own before
    programs.shielded: "chan receive",
    programs.waits_for_task: "chan receive",
    programs.waits_for_first: "select",
    programs.grouped: "sync.WaitGroup.Wait",
    programs.iterates: "chan receive",
    programs.takes_next: "chan receive",
    programs.waits_as_completed: "select",
    programs.awaits_object: "chan receive",
}
WAITS = {
    programs.leaf: ("chan receive", "Event.wait"),
    programs.receives_from_queue: ("chan receive", "Queue.get"),
    programs.sends_to_queue: ("chan send", "Queue.put"),
    programs.locks_twice: ("sync.Mutex.Lock", "Lock.acquire"),
    programs.waits_for_semaphore: ("semacquire", "Semaphore.acquire"),
    programs.waits_for_condition: ("sync.Cond.Wait", "Condition.wait"),
    programs.waits_for_future: ("chan receive", "Future"),
    programs.sleeps: ("sleep", "sleep"),
}


@pytest.mark.parametrize("program", ACROSS, ids=lambda program: program.__name__)
def test_the_chain_goes_down_to_the_leaf(program: programs.Make) -> None:
    """Whatever stands between, the stack begins at the task and ends at the event it needs."""
    with loop_thread() as thread:
        thread.start(program, "probed")
        found = find("probed")
    assert functions(found)[0] == program.__name__
    assert functions(found)[-2:] == ["leaf", "asyncio.locks.Event.wait"]
    assert ACROSS[program] in (None, found.state)


@pytest.mark.parametrize("program", WAITS, ids=lambda program: program.__name__)
def test_a_wait_has_its_go_state(program: programs.Make) -> None:
    """Each way of waiting has the state that Go gives its own kind, and says on what."""
    with loop_thread() as thread:
        thread.start(program, "probed")
        found = find("probed")
    assert (found.state, found.waits_on) == WAITS[program]
    assert (found.kind, found.thread) == ("task", "program")


def test_the_tasks_waited_for_are_named() -> None:
    """A task that waits for another names it, and both are in the picture."""
    with loop_thread() as thread:
        thread.start(programs.waits_for_task, "outer")
        assert find("outer").waits_on == "inner"
        assert find("inner").state == "chan receive"


def test_a_socket_wait_names_both_ends() -> None:
    """A stream that nobody writes to is `IO wait`, with its addresses and descriptor."""
    with loop_thread() as thread, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread.start(lambda: programs.reads_stream(port), "stream")
        thread.start(programs.reads_socket, "socket")
        far_end = f"-> 127.0.0.1:{port} (fd "  # known once it is connected
        stream = find_when("stream", lambda found: far_end in found.waits_on)
        reading = find("socket")
    assert stream.state == "IO wait"
    assert stream.waits_on.startswith("tcp 127.0.0.1:")
    assert reading.state == "IO wait"
    assert reading.waits_on.startswith("unix (fd ")


def test_a_running_task_shows_its_calls() -> None:
    """A task that computes is `running`, and its stack goes on into plain functions."""
    begun, end = threading.Event(), threading.Event()

    def busy() -> None:
        begun.set()
        while not end.is_set():
            pass

    async def computes() -> None:
        busy()

    with loop_thread() as thread:
        thread.loop.call_soon_threadsafe(lambda: thread.loop.create_task(computes(), name="busy"))
        try:
            assert begun.wait(HANGS_S)
            found = find("busy")
        finally:
            end.set()
    assert found.state == "running"
    assert "busy" in " ".join(functions(found))


def test_a_task_that_could_run_is_runnable() -> None:
    """A task that has not begun waits for nothing."""

    async def main() -> tuple[str, str]:
        task = asyncio.create_task(programs.leaf(), name="fresh")
        found = find("fresh")
        task.cancel()
        return found.state, found.waits_on

    assert asyncio.run(main()) == ("runnable", "")


def test_the_place_of_creation_is_known_in_debug_mode() -> None:
    """`created_at` is the line that made the task, not one of asyncio's."""
    with loop_thread(debug=True) as thread:
        thread.start(programs.sleeps, "probed")
        assert find("probed").created_at.startswith(programs.__file__ + ":")
    with loop_thread() as thread:
        thread.start(programs.sleeps, "probed")
        assert find("probed").created_at == ""


@contextmanager
def thread_in(target: Callable[..., Any], release: Callable[[], Any]) -> Iterator[None]:
    """Run `target` in a thread called `probed` until the block ends, then `release` it."""
    thread = threading.Thread(target=target, name="probed")
    thread.start()
    try:
        yield
    finally:
        release()
        thread.join(HANGS_S)


def state_of(target: Callable[..., Any], release: Callable[[], Any], wanted: str) -> str:
    """Return what the thread in `target` waits on once its state is `wanted`."""
    with thread_in(target, release):
        return find_when("probed", lambda found: found.state == wanted).waits_on


def test_threads_have_go_states_too() -> None:
    """Events, queues of both kinds, locks in both spellings, sleep and sockets are told apart."""
    event, lock = threading.Event(), threading.Lock()
    full, empty = queue.Queue[int](1), queue.Queue[int]()
    work_queue = queue.SimpleQueue[int]()
    full.put(1)
    near, far = socket.socketpair()
    lock.acquire()

    def with_lock() -> None:
        with lock:
            pass

    def nap() -> None:
        while not event.is_set():
            time.sleep(0.05)

    assert state_of(event.wait, event.set, "chan receive") == "Event.wait"
    event.clear()
    assert state_of(empty.get, lambda: empty.put(1), "chan receive") == "Queue.get"
    assert state_of(lambda: full.put(1), full.get, "chan send") == "Queue.put"
    assert state_of(
        lambda: work_queue.get(),  # noqa: PLW0108 - the call must show in the source
        lambda: work_queue.put(1),
        "chan receive",
    )
    assert state_of(with_lock, lock.release, "sync.Mutex.Lock") == "lock.acquire"
    assert state_of(nap, event.set, "sleep") == "time.sleep"
    with near, far:
        waits_on = state_of(lambda: near.recv(1), lambda: far.send(b"x"), "IO wait")
    assert waits_on == "near.recv" or waits_on.startswith("socket:[")


def test_a_thread_with_a_loop_is_listed_but_not_counted() -> None:
    """Its tasks are what it does: the profile counts them and no thread under them."""
    with loop_thread() as thread:
        thread.start(programs.sleeps, "probed")
        found = snapshot()
        names = {dict(sample.labels)["name"] for sample in profile(found).samples}
    assert [each.kind for each in found if each.name == "program"] == ["event loop"]
    assert "probed" in names
    assert "program" not in names


def test_threads_that_wait_in_the_same_place_are_one_group() -> None:
    """As in Go's text with `?debug=1`: a thread's name does not set it apart."""
    over = threading.Event()
    threads = [threading.Thread(target=over.wait, name=f"waiter-{each}") for each in range(3)]
    for thread in threads:
        thread.start()
    group = re.compile(r'^3 @ .*\n# labels: {"kind":"thread", "state":"chan receive"}$', re.M)
    try:  # on the way into the wait each may stand in another line of it
        wait_until(lambda: bool(group.search(grouped("goroutine", profile(snapshot())))))
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_the_observer_is_not_in_the_picture() -> None:
    """The thread that looks is left out, and so are the tasks that the caller excludes."""
    with loop_thread() as thread:
        task = thread.start(programs.sleeps, "probed")
        names = [each.name for each in Snapshot(Numbers(), lambda t: t is task).goroutines()]
    assert "probed" not in names
    assert threading.current_thread().name not in names


def test_a_snapshot_keeps_nothing_alive() -> None:
    """What a task held in a local variable is gone as soon as the task lets go of it."""

    class Held:
        pass

    references: list[weakref.ref[Held]] = []
    go = asyncio.Event()

    async def holder() -> None:
        held = Held()
        references.append(weakref.ref(held))
        await go.wait()
        del held
        await programs.leaf()

    with loop_thread() as thread:
        thread.start(holder, "probed")
        snapshot()
        thread.loop.call_soon_threadsafe(go.set)
        wait_until(lambda: "leaf" in functions(find("probed")))
        gc.collect()
        assert references[0]() is None


def test_numbers_last_as_long_as_the_task() -> None:
    """Two snapshots give a task the same number; a number is not given out twice."""
    numbers = Numbers()
    with loop_thread() as thread:
        thread.start(programs.sleeps, "probed")
        first = {each.name: each.number for each in Snapshot(numbers).goroutines()}
        thread.start(programs.sleeps, "later")
        second = {each.name: each.number for each in Snapshot(numbers).goroutines()}
    assert first["probed"] == second["probed"]
    assert second["later"] not in first.values()


def test_a_socket_that_is_closed_while_it_is_looked_at_is_left_out():
    """Threads of the program run on meanwhile."""

    class Closing(socket.socket):
        def getsockname(self):
            self.close()
            return super().getsockname()

    assert await_chain._described(Closing()) == ""


def test_objects_of_the_program_are_not_asked_what_they_are():
    """A coroutine's variable may be of a class that is not hashable, or stand for something else
    that it cannot name at present, as Flask's `request` outside of one."""

    class Comparing(type):
        __hash__ = None

    class Request(metaclass=Comparing):
        @property
        def __class__(self):
            raise RuntimeError("working outside of request context")

        def __getattr__(self, name):
            raise RuntimeError("working outside of request context")

    async def serves() -> None:
        request = Request()
        await programs.leaf()
        del request

    with loop_thread() as thread:
        thread.start(serves, "serves")
        wait_until(lambda: find("serves").state == "chan receive")
