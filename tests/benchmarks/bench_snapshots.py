"""A look at ten thousand tasks, at 200 threads, and at who holds ten thousand files."""

import asyncio
import ctypes
import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median

from harness.collector import no_collection
from harness.holders import find_holders
from harness.instances import referents
from harness.pprof.aside import aside
from harness.pprof.goroutines import Numbers, Snapshot, profile
from harness.pprof.proto import encode

from .measure import Effort, Limit, Table, Work, against, command, in_turn, ratio, seconds

TASKS = 10_000
THREADS = 200
FILES = 10_000
TICK_S = 0.001
PR_SET_PTRACER = 0x59616D61
KEPT: list[object] = []
PLAIN_NOTE = "Read once: gc.get_referents() of each object, and an entry for each found."


async def leaf() -> None:
    """Wait for ever, at the end of an await chain."""
    await asyncio.Event().wait()


async def outer() -> None:
    """Wait for `leaf`."""
    await leaf()


def look() -> None:
    """Take a snapshot of every task and thread."""
    assert Snapshot(Numbers()).goroutines()


def stdlib_look(tasks: list[asyncio.Task[None]]) -> None:
    """Ask each task for its frames and lines."""
    assert [[frame.f_lineno for frame in task.get_stack()] for task in tasks]


class Ticker:
    """Wakes every millisecond and keeps the longest time that it did not."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        """Tick until cancelled."""
        last_s = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.perf_counter()
            self.longest_s = max(self.longest_s, now_s - last_s - TICK_S)
            last_s = now_s


async def among_tasks(measure: Callable[[list[asyncio.Task[None]]], Coroutine]) -> list[float]:
    """Start the tasks, measure beside them, and cancel them."""
    tasks = [asyncio.create_task(outer()) for _ in range(TASKS)]
    await asyncio.sleep(0)
    try:
        return await measure(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def snapshot(tasks: list[asyncio.Task[None]]) -> list[float]:
    """Look from another thread while the loop ticks; return the seconds of each part."""
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(2 * TICK_S)
    taken_s = await aside(lambda: seconds(look))
    await asyncio.sleep(2 * TICK_S)
    ticking.cancel()
    found = Snapshot(Numbers()).goroutines()
    with no_collection():
        encoded_s = seconds(lambda: encode(profile(found)))
    return [taken_s, encoded_s, ticker.longest_s, seconds(lambda: stdlib_look(tasks))]


def of_tasks(effort: Effort) -> Table:
    """Measure snapshots of ten thousand tasks, and for how long they stop the loop."""
    rounds = max(3, effort.rounds // 2)
    columns = zip(*(asyncio.run(among_tasks(snapshot)) for _ in range(rounds)), strict=True)
    taken_s, encoded_s, stopped_s, stdlib_s = map(median, columns)
    ours = "harness, with await chains"
    medians = {
        ours: taken_s,
        "its longest stop of the event loop": stopped_s,
        "encoding it as profile.proto": encoded_s,
        "task.get_stack() of each": stdlib_s,
    }
    limits = [
        Limit(taken_s, "s", 0.3),
        Limit(stopped_s, "s of a stop", 0.05),
        Limit(taken_s / stdlib_s, "× get_stack()", 40, 40),
    ]
    rows = against(medians, ours, *limits)
    return Table("A snapshot of 10,000 tasks", ["", "median", "× harness"], rows)


def of_threads(effort: Effort) -> Table:
    """Measure snapshots of 200 threads against py-spy's."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    let_anyone_look()
    ours, theirs = "harness", "py-spy dump"
    works: dict[str, Work] = {ours: look, theirs: command(f"py-spy dump --pid {os.getpid()}")}
    try:
        medians = in_turn(works, effort)
    finally:
        done.set()
    rows = against(medians, ours, Limit(ratio(medians, ours, theirs), "× py-spy", 1, 1))
    note = "py-spy looks from outside and starts a process for it; it does not see tasks."
    return Table("A snapshot of 200 threads", ["", "median", "× harness"], rows, note)


def let_anyone_look() -> None:
    """Let a child look at this process, which Yama refuses by default (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)


def every_reference() -> None:
    """Read each reference of the heap once, the least that a search in Python must do.

    `gc.collect()` reads them too, but in C: how many times faster that is depends on the machine's
    caches, from 13 to 52 times in runs of one program.
    """
    with no_collection():
        assert {id(held): None for node in gc.get_objects() for held in referents(node)}


def of_holders(effort: Effort) -> Table:
    """Measure the search for who holds ten thousand files against objgraph's for one of them."""
    import objgraph

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    KEPT.extend(Path("/dev/null").open("w") for _ in range(FILES))  # noqa: SIM115 - kept open
    ours, theirs = "harness, all 10,000", "objgraph.find_backref_chain, one"
    plain = "every reference, read once"
    works: dict[str, Work] = {
        ours: lambda: find_holders(KEPT),
        theirs: lambda: objgraph.find_backref_chain(KEPT[FILES // 2], objgraph.is_proper_module),
        plain: every_reference,
    }
    try:
        assert sum(len(held.members) for held in find_holders(KEPT)) == FILES
        medians = in_turn(works, effort)
    finally:
        for file in KEPT:
            file.close()
        KEPT.clear()
    limits = [
        Limit(medians[ours], "s", 2),
        Limit(ratio(medians, ours, plain), "× reading them once", 8, 10),
    ]
    rows = against(medians, ours, *limits)
    return Table("Who holds 10,000 files", ["", "median", "× harness"], rows, PLAIN_NOTE)


def tables(effort: Effort) -> list[Table]:
    """Measure all three."""
    return [of_tasks(effort), of_threads(effort), of_holders(effort)]
