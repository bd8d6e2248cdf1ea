"""What the tracker costs: programs that open files and programs that do not, with and without it.

Each way runs in processes of its own, in turn, and the least of several processor times is taken:
noise only ever adds.
"""

import copy
import json
import re
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from harness.tracker import Tracker

from .measure import FEWEST_ROUNDS, Effort, Limit, Row, Table, Work

FILES = 1000
FRAMES = 10
TURNS = 5
SHARE = 0.05
"""The processor time of one process, as a share of a benchmark's budget."""
OPENING = "open, write, close"
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def tracing():
    """Trace memory with 16 frames, the usual way to learn where something was allocated."""
    tracemalloc.start(16)
    try:
        yield
    finally:
        tracemalloc.stop()


WAYS: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
    "bare": nullcontext,
    "tracker": Tracker,
    "tracemalloc(16)": tracing,
    "-X dev": nullcontext,
}


def below(frames: int, work: Work) -> object:
    """Do `work` under so many more frames: a program opens its files some calls deep."""
    return below(frames - 1, work) if frames else work()


def open_files() -> None:
    """Open, write and close a file, again and again, in memory where there is such a folder."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = f"{folder}/file"

        def loop() -> None:
            for _ in range(FILES):
                file = open(path, "w")  # noqa: SIM115, PTH123 - what is measured
                file.write("hello")
                file.close()

        below(FRAMES, loop)


def objects() -> object:
    """Copy, encode, decode and sort dictionaries."""
    rows = [{"id": number, "name": str(number), "tags": [number] * 3} for number in range(400)]
    parsed = json.loads(json.dumps(copy.deepcopy(rows)))
    return sorted(parsed, key=lambda row: hash(row["name"]) % 97)


def numbers() -> object:
    """Step five bodies through a field of force."""
    bodies = [[float(n), n * 0.5, 0.1 * n] for n in range(5)]
    for _ in range(300):
        for one in bodies:
            for other in bodies:
                distance = sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) + 0.01
                one[0] += 1e-3 * (other[0] - one[0]) / distance**1.5
    return bodies


def text() -> object:
    """Search and replace in text."""
    line = "2026-01-01 12:00:00 host service[123]: took 45 ms for /orders/678 from 10.0.0.1\n"
    found = re.findall(r"(\d+) ms for (/\w+)/(\d+)", line * 400)
    return sum(int(ms) for ms, _, _ in found), (line * 400).replace("orders", "items").split("\n")


PROGRAMS: Mapping[str, Work] = {
    OPENING: open_files,
    "objects": objects,
    "numbers": numbers,
    "text": text,
}


def least_s(program: str, way: str, budget_s: float) -> float:
    """Return the least processor time of a program's rounds, observed from before its start."""
    with WAYS[way]():
        PROGRAMS[program]()
        times = []
        until_s = time.process_time() + budget_s
        while len(times) < FEWEST_ROUNDS or time.process_time() < until_s:
            began_s = time.process_time()
            PROGRAMS[program]()
            times.append(time.process_time() - began_s)
    return min(times)


def in_process(program: str, way: str, budget_s: float) -> float:
    """Return `least_s` of a process of its own."""
    flags = ["-X", "dev"] if way == "-X dev" else []
    code = f"from {__name__} import least_s; print(least_s({program!r}, {way!r}, {budget_s}))"
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return float(done.stdout)


def ratios(program: str, effort: Effort) -> dict[str, float]:
    """Return each way's time over the bare one's; the ways take turns in going first."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(TURNS):
        for way in list(WAYS)[:: -1 if turn % 2 else 1]:
            times[way].append(in_process(program, way, effort.budget_s * SHARE))
    return {way: min(taken) / min(times["bare"]) for way, taken in times.items()}


def limits(program: str, found: Mapping[str, float]) -> list[Limit]:
    """Return what the tracker is held to: opening files may cost it something, nothing else."""
    if program != OPENING:
        return [Limit(found["tracker"], "× bare", 1.02, 1.15)]
    share = (found["tracker"] - 1) / (found["tracemalloc(16)"] - 1)
    return [
        Limit(found["tracker"], "× bare", 1.3, 1.5),
        Limit(share, "of tracemalloc's cost", 1 / 3, 0.4),
    ]


def tables(effort: Effort) -> list[Table]:
    """Measure each program in each way."""
    found = {program: ratios(program, effort) for program in PROGRAMS}
    rows = [
        Row([program, *(f"{ratio:.3f}" for ratio in each.values())], limits(program, each))
        for program, each in found.items()
    ]
    note = "Processor time; the files are in memory, and opened ten calls deep."
    return [Table("What the tracker costs, × bare", ["", *WAYS], rows, note)]
