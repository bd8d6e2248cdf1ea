"""What a report on holders costs, as a ratio to one pass of the garbage collector on the same heap.

Run it by hand: `python tests/benchmarks/bench_holders.py`.
"""

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harness.holders import find_holders

FILES = 10_000
KEPT: list[object] = []


def seconds(work: Callable[[], object]) -> float:
    """Return the median of five runs of `work`, in seconds."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Open ten thousand files, keep them, and ask who holds them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES + 100
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"needs {wanted} descriptors, the hard limit is {hard}: raise it with ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    KEPT.extend(Path("/dev/null").open("w") for _ in range(FILES))  # noqa: SIM115 (kept open)
    report = seconds(lambda: find_holders(KEPT))
    collection = seconds(gc.collect)
    first = find_holders(KEPT)[0].lines[0]
    sys.stdout.write(f"{first}\n")
    sys.stdout.write(f"{report:.2f} s for {FILES} files, {len(gc.get_objects())} objects\n")
    sys.stdout.write(f"{report / collection:.1f} times a full garbage collection\n")


if __name__ == "__main__":
    main()
