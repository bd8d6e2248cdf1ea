"""A look at ten thousand tasks, at 200 threads, and at who holds ten thousand files."""

import asyncio
import gc
import os
import resource
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median

from harness.collector import no_collection
from harness.holders import find_holders
from harness.pprof.aside import aside
from harness.pprof.goroutines import Numbers, Snapshot, profile
from harness.pprof.proto import encode

from .bench_counts import shell
from .measure import Limit, Table, Work, against, duration, in_turn, seconds

TASKS = 10_000
THREADS = 200
FILES = 10_000
TICK_S = 0.001
KEPT: list[object] = []


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


def of_tasks(rounds: int) -> Table:
    """Measure snapshots of ten thousand tasks, and for how long they stop the loop."""
    columns = zip(*(asyncio.run(among_tasks(snapshot)) for _ in range(rounds)), strict=True)
    taken_s, encoded_s, stopped_s, stdlib_s = map(median, columns)
    rows = [
        ["snapshot with await chains", duration(taken_s)],
        ["its longest stop of the event loop", duration(stopped_s)],
        ["encoding it as profile.proto", duration(encoded_s)],
        ["task.get_stack() of each, for comparison", duration(stdlib_s)],
    ]
    limits = [
        Limit("snapshot, in seconds", taken_s, 0.3),
        Limit("stop of the loop, in seconds", stopped_s, 0.05),
    ]
    return Table("Snapshot of 10,000 tasks", ["", "median"], rows, limits)


def of_threads(rounds: int) -> Table:
    """Measure snapshots of 200 threads against py-spy's."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        works: dict[str, Work] = {
            "harness": look,
            "py-spy dump": shell(f"py-spy dump --pid {os.getpid()}"),
        }
        medians = in_turn(works, rounds)
    finally:
        done.set()
    note = "py-spy looks from outside and starts a process for it; it does not see tasks."
    rows = against(medians, "harness")
    return Table("Snapshot of 200 threads", ["", "median", "× harness"], rows, note=note)


def of_holders(rounds: int) -> Table:
    """Measure the search for who holds ten thousand files against objgraph's for one of them."""
    import objgraph

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    KEPT.extend(Path("/dev/null").open("w") for _ in range(FILES))  # noqa: SIM115 - kept open
    try:
        works: dict[str, Work] = {
            "harness, all 10,000": lambda: find_holders(KEPT),
            "objgraph.find_backref_chain, one": lambda: objgraph.find_backref_chain(
                KEPT[FILES // 2], objgraph.is_proper_module
            ),
            "gc.collect(), for comparison": gc.collect,
        }
        medians = in_turn(works, max(3, rounds // 2))
    finally:
        for file in KEPT:
            file.close()
        KEPT.clear()
    ours = "harness, all 10,000"
    limits = [Limit("harness, in seconds", medians[ours], 2)]
    rows = against(medians, ours)
    return Table("Who holds 10,000 files", ["", "median", "× harness"], rows, limits)


def tables(rounds: int) -> list[Table]:
    """Measure all three."""
    return [of_tasks(rounds), of_threads(rounds), of_holders(rounds)]
