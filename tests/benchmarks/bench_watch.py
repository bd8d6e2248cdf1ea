"""What watching costs, as ratios within one run: `python tests/benchmarks/bench_watch.py`.

Two idle processes, one with 8 descriptors and one with 15,000, are asked in turn, many times; the
medians are compared, so that a noisy machine slows both sides. Exit status 1 when a ratio is over
its limit: counting must not grow with the number of descriptors (Linux 6.2 and newer).
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.clock import SystemClock
from harness.probes.process import Process
from harness.watching import SHARE, Watcher

FEW, MANY = 8, 15_000
ROUNDS = 301
LIMIT = 1.5
HOLDER = """
import os, resource, sys
count = int(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 64, hard), hard))
while max(map(int, os.listdir("/proc/self/fd"))) + 1 <= count:
    os.open("/dev/null", os.O_RDONLY)
print("ready", flush=True)
sys.stdin.read()
"""


def hold(stack: ExitStack, count: int) -> Process:
    """Start a process that holds `count` descriptors until the end of `stack`."""
    command = [sys.executable, "-c", HOLDER, str(count)]
    pipe = subprocess.PIPE
    child = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
    stack.callback(child.stdin.close)
    assert child.stdout.readline() == "ready\n"
    return Process(child.pid)


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def compared(
    name: str, few: Callable[[], object], many: Callable[[], object], rounds: int
) -> float:
    """Print and return the median cost of `many` over that of `few`, measured in turn."""
    pairs = [(seconds(few), seconds(many)) for _ in range(rounds)]
    few_s, many_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{name:<16} {few_s * 1e6:>9.1f} µs  {many_s * 1e6:>9.1f} µs  ratio {many_s / few_s:.2f}")
    return many_s / few_s


def listing_share(process: Process, every_s: float = 0.1, reports: int = 80) -> float:
    """Return the share of the time from the first listing to the last that listings took."""
    starts_s: list[float] = []
    costs_s: list[float] = []

    class Timed(Process):
        def listing(self):
            starts_s.append(time.perf_counter())
            found = super().listing()
            costs_s.append(time.perf_counter() - starts_s[-1])
            return found

    watcher = Watcher(Timed(process.pid), SystemClock(), every_s)
    for _ in watcher.watch(every_s * reports):
        pass
    return sum(costs_s[:-1]) / (starts_s[-1] - starts_s[0])


def main() -> int:
    """Measure, print, and judge the ratios of what is done at every report."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    many = MANY if hard == resource.RLIM_INFINITY else min(MANY, hard - 64)
    with ExitStack() as stack:
        few_held, many_held = hold(stack, FEW), hold(stack, many)
        print(f"{'':<16} {few_held.open_fds():>6} open  {many_held.open_fds():>7} open")
        counting = compared("count", few_held.open_fds, many_held.open_fds, ROUNDS)
        figures = compared("report's figures", few_held.figures, many_held.figures, ROUNDS)
        compared("listing", few_held.listing, many_held.listing, 5)
        share = listing_share(many_held)
        print(f"share of the time spent on listings of {many}: {share:.1%}")
    return int(counting > LIMIT or figures > LIMIT or share > SHARE * 1.05)


if __name__ == "__main__":
    sys.exit(main())
