"""What the tracker costs, as ratios within one run: `python tests/benchmarks/bench_tracker.py`.

With and without the tracker are timed in turn, many times, so that a noisy machine slows both.
Exit status 1 when a ratio is over its limit.
"""

import copy
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.tracker import Tracker

FILES = 1000
ROUNDS = 31
PROCESSES = 4
FRAMES = 10
Work = Callable[[], object]
Observed = Callable[[], AbstractContextManager[object]]


@contextmanager
def tracing():
    """Trace memory with 16 frames, the usual way to learn where something was allocated."""
    tracemalloc.start(16)
    try:
        yield
    finally:
        tracemalloc.stop()


def open_files(path: str) -> None:
    """Open, write and close a file, again and again."""
    for _ in range(FILES):
        file = open(path, "w")  # noqa: SIM115, PTH123
        file.write("hello")
        file.close()


def below(frames: int, work: Work) -> object:
    """Do `work` under so many more frames: a program opens its files some calls deep."""
    return below(frames - 1, work) if frames else work()


def compute() -> object:
    """Do what a program does between its files: objects, dictionaries, strings, numbers."""
    rows = [{"id": number, "name": str(number), "tags": [number] * 3} for number in range(400)]
    parsed = json.loads(json.dumps(copy.deepcopy(rows)))
    return sorted(parsed, key=lambda row: hash(row["name"]) % 97)


def timed(work: Work, observed: Observed) -> float:
    """Return the CPU seconds of `work`, warm: after one round of it that does not count."""
    with observed():
        work()
        start_s = time.process_time()
        work()
        return time.process_time() - start_s


def ratio(work: Work, observed: Observed) -> float:
    """Return the least that `work` takes under `observed` over the least that it takes bare.

    The two take turns in going first, and noise only ever adds: the least is the least disturbed.
    """
    seconds: dict[Observed, list[float]] = {nullcontext: [], observed: []}
    for turn in range(ROUNDS):
        for each in list(seconds)[:: -1 if turn % 2 else 1]:
            seconds[each].append(timed(work, each))
    return min(seconds[observed]) / min(seconds[nullcontext])


def program(observed: Observed) -> float:
    """Return the least CPU seconds of `compute` in a program that is observed from its start."""
    with observed():
        return min(timed(compute, nullcontext) for _ in range(5 * ROUNDS))


def program_ratio() -> float:
    """Return what `compute` takes in tracked processes over what it takes in bare ones."""
    seconds: dict[str, list[float]] = {"bare": [], "tracked": []}
    for turn in range(PROCESSES):
        for each in list(seconds)[:: -1 if turn % 2 else 1]:
            run = subprocess.run([sys.executable, __file__, each], capture_output=True, check=True)
            seconds[each].append(float(run.stdout))
    return min(seconds["tracked"]) / min(seconds["bare"])


def main() -> int:
    """Print the ratios and return 1 when one is over its limit."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:

        def files() -> object:
            return below(FRAMES, lambda: open_files(f"{folder}/file"))

        tracked = ratio(files, Tracker)
        traced = ratio(files, tracing)
        computed = program_ratio()
    rows = [
        ("open, write, close under the tracker", tracked, 1.3),
        ("its cost as a share of tracemalloc(16)'s", (tracked - 1) / (traced - 1), 1 / 3),
        ("work that opens nothing, under the tracker", computed, 1.02),
    ]
    for title, value, limit in rows:
        print(f"{title:45} {value:6.3f}   at most {limit:.3f}")
    return int(any(value > limit for _, value, limit in rows))


if __name__ == "__main__":
    if sys.argv[1:]:
        print(program(Tracker if sys.argv[1] == "tracked" else nullcontext))
    else:
        raise SystemExit(main())
