"""What a look at ten thousand tasks costs, and how long it stops their event loop.

`python -m tests.benchmarks.bench_goroutines` prints the figures. It ends with status 1 if a
snapshot takes 0.3 s or more, stops the loop for longer than 50 ms, or is dearer than the ratio
below says: its processor time against that of the standard library's own look at the same tasks.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from statistics import median

from harness.collector import no_collection
from harness.pprof.aside import aside
from harness.pprof.goroutines import Numbers, Snapshot, profile
from harness.pprof.proto import encode

TASKS = 10_000
ROUNDS = 7
SNAPSHOT_S_MAX = 0.3
STOP_S_MAX = 0.05
RATIO_MAX = 40.0
_TICK_S = 0.001


@dataclass(frozen=True)
class Figures:
    """Seconds: the best of the rounds, since others use this machine too.

    The stop is the median of each round's longest.
    """

    snapshot_s: float
    encode_s: float
    ratio: float
    stop_s: float

    def within_limits(self) -> bool:
        """Tell whether none of the limits above is passed."""
        return (
            self.snapshot_s < SNAPSHOT_S_MAX
            and self.stop_s <= STOP_S_MAX
            and self.ratio <= RATIO_MAX
        )


async def _leaf() -> None:
    await asyncio.Event().wait()


async def _middle() -> None:
    await _leaf()


async def _outer() -> None:
    await _middle()


def look() -> tuple[float, float, float]:
    """Take a snapshot and encode it; return the seconds of each, and the first's processor time."""
    begin, begin_cpu = time.perf_counter(), time.thread_time()
    found = Snapshot(Numbers()).goroutines()
    taken, cpu_s = time.perf_counter(), time.thread_time() - begin_cpu
    with no_collection():
        size = len(encode(profile(found)))
    assert len(found) >= TASKS
    assert size > TASKS
    return taken - begin, time.perf_counter() - taken, cpu_s


def stdlib_look(tasks: list[asyncio.Task[None]]) -> float:
    """Ask each task for its frames and lines; return the processor time that it took."""
    begin = time.thread_time()
    lines = [[frame.f_lineno for frame in task.get_stack()] for task in tasks]
    assert len(lines) == TASKS
    return time.thread_time() - begin


class Ticker:
    """Wakes every millisecond and keeps the longest time that it did not."""

    def __init__(self) -> None:
        """Begin with none."""
        self.longest_s = 0.0

    async def run(self) -> None:
        """Tick until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.perf_counter()
            self.longest_s = max(self.longest_s, now - last - _TICK_S)
            last = now


async def measure() -> Figures:
    """Start the tasks, and look at them from another thread while the loop ticks."""
    tasks = [asyncio.create_task(_outer()) for _ in range(TASKS)]
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await asyncio.sleep(0.05)
    looks, stops, stdlib = [], [], []
    for _ in range(ROUNDS):
        ticker.longest_s = 0.0
        looks.append(await aside(look))
        await asyncio.sleep(2 * _TICK_S)
        stops.append(ticker.longest_s)
        stdlib.append(stdlib_look(tasks))
        await asyncio.sleep(2 * _TICK_S)
    for task in (*tasks, ticking):
        task.cancel()
    await asyncio.gather(*tasks, ticking, return_exceptions=True)
    snapshots, encodes, cpu = zip(*looks, strict=True)
    return Figures(min(snapshots), min(encodes), min(cpu) / min(stdlib), median(stops))


def main() -> int:
    """Print the figures; return 0, or 1 if one is past its limit."""
    figures = asyncio.run(measure())
    sys.stdout.write(
        f"snapshot of {TASKS} tasks: {figures.snapshot_s:.3f} s (under {SNAPSHOT_S_MAX} s), "
        f"{figures.ratio:.1f} times the processor time of task.get_stack() of each "
        f"(at most {RATIO_MAX:g})\n"
        f"encoding it: {figures.encode_s:.3f} s\n"
        f"longest stop of the event loop: {figures.stop_s * 1000:.0f} ms "
        f"(at most {STOP_S_MAX * 1000:.0f} ms)\n"
    )
    return 0 if figures.within_limits() else 1


if __name__ == "__main__":
    sys.exit(main())
