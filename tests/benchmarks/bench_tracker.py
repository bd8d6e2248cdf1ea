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

from .measure import Limit, Table, Work

FILES = 1000
FRAMES = 10
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
    "open, write, close": open_files,
    "objects": objects,
    "numbers": numbers,
    "text": text,
}


def least_s(program: str, way: str, rounds: int) -> float:
    """Return the least processor time of a program's rounds, observed from before its start."""
    with WAYS[way]():
        PROGRAMS[program]()
        times = []
        for _ in range(rounds):
            began_s = time.process_time()
            PROGRAMS[program]()
            times.append(time.process_time() - began_s)
    return min(times)


def in_process(program: str, way: str, rounds: int) -> float:
    """Return `least_s` of a process of its own."""
    flags = ["-X", "dev"] if way == "-X dev" else []
    code = f"from {__name__} import least_s; print(least_s({program!r}, {way!r}, {rounds}))"
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    return float(done.stdout)


def ratios(program: str, rounds: int) -> dict[str, float]:
    """Return each way's time over the bare one's; the ways take turns in going first."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(6):
        for way in list(WAYS)[:: -1 if turn % 2 else 1]:
            times[way].append(in_process(program, way, 3 * rounds))
    return {way: min(taken) / min(times["bare"]) for way, taken in times.items()}


def tables(rounds: int) -> list[Table]:
    """Measure each program in each way."""
    found = {program: ratios(program, rounds) for program in PROGRAMS}
    rows = [
        [program, *(f"{ratio:.3f}" for ratio in each.values())] for program, each in found.items()
    ]
    opening = found["open, write, close"]
    share = (opening["tracker"] - 1) / (opening["tracemalloc(16)"] - 1)
    limits = [
        Limit("open, write, close under the tracker", opening["tracker"], 1.3),
        Limit("its cost as a share of tracemalloc(16)'s", share, 1 / 3),
        *(
            Limit(f"{program} under the tracker", found[program]["tracker"], 1.02)
            for program in list(PROGRAMS)[1:]
        ),
    ]
    return [Table("Cost of the tracker, × bare", ["", *WAYS], rows, limits)]
