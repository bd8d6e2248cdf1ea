"""One count of a process's descriptors, and a listing of them, against the usual tools."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import psutil

from harness.probes import fds

from .measure import Effort, Limit, Row, Table, Work, against, command, duration, in_turn, ratio

FEW, MANY = "8", "15,000"
COUNTS = {FEW: 8, "500": 500, MANY: 15_000}
HOLDER = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
for _ in range(int(sys.argv[1]) + 1 - len(os.listdir("/proc/self/fd"))):
    os.open("/dev/null", os.O_RDONLY)
print("ready", flush=True)
sys.stdin.read()
"""


def holding(stack: ExitStack, count: int) -> int:
    """Start a process with `count` open descriptors until the end of `stack`; return its pid."""
    line = [sys.executable, "-c", HOLDER, str(count)]
    child = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.enter_context(child)
    stack.callback(child.stdin.close)
    assert child.stdout.readline() == "ready\n"
    assert fds.count(child.pid) == count
    return child.pid


def ways(pid: int) -> dict[str, Work]:
    """Return the ways to count the descriptors of `pid`."""
    return {
        "harness": lambda: fds.count(pid),
        "psutil.num_fds": lambda: psutil.Process(pid).num_fds(),
        "ls /proc/PID/fd, wc -l": command(f"ls /proc/{pid}/fd | wc -l"),
        "lsof -p PID, wc -l": command(f"lsof -p {pid} | wc -l"),
    }


def counts(effort: Effort) -> Table:
    """Time one count at 8, 500 and 15,000 open descriptors."""
    with ExitStack() as stack:
        pids = {name: holding(stack, count) for name, count in COUNTS.items()}
        often = replace(effort, rounds=100 * effort.rounds)
        ours = in_turn({name: ways(pid)["harness"] for name, pid in pids.items()}, often)
        medians = {name: {**in_turn(ways(pid), effort)} for name, pid in pids.items()}
    for name, median_s in ours.items():
        medians[name]["harness"] = median_s
    growth = Limit(ratio(ours, MANY, FEW), "× at 8", 1.2, 1.5)
    share = Limit(ratio(medians[FEW], "harness", "psutil.num_fds"), "× psutil at 8", 0.1, 0.15)
    rows = [
        Row(
            [way, *(duration(each[way]) for each in medians.values())],
            [growth, share] if way == "harness" else [],
        )
        for way in medians[FEW]
    ]
    return Table("One count of open descriptors", ["", *COUNTS], rows)


@contextmanager
def opened(number: int) -> Iterator[None]:
    """Keep `number` descriptors of a regular file open in this process."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with tempfile.NamedTemporaryFile() as file:
        numbers = [os.open(file.name, os.O_RDONLY) for _ in range(number)]
        try:
            yield
        finally:
            for each in numbers:
                os.close(each)


def listing(effort: Effort) -> Table:
    """Time a listing of this process's descriptors with their targets."""
    ours, theirs = "harness", "psutil.open_files"
    with opened(COUNTS[MANY]):
        assert len(list(fds.targets())) >= COUNTS[MANY]
        works: dict[str, Work] = {
            ours: lambda: list(fds.targets()),
            theirs: psutil.Process().open_files,
            "lsof -p PID": command(f"lsof -p {os.getpid()}"),
        }
        medians = in_turn(works, effort)
    rows = against(medians, ours, Limit(ratio(medians, ours, theirs), "× psutil", 0.5, 0.7))
    note = "All are regular files: psutil lists no others."
    return Table("A listing of 15,000 descriptors", ["", "median", "× harness"], rows, note)


def tables(effort: Effort) -> list[Table]:
    """Measure both."""
    return [counts(effort), listing(effort)]
