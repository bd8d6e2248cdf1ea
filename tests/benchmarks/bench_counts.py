"""One count of a process's descriptors, and a listing of them, against the usual tools."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psutil

from harness.probes import fds

from .measure import Limit, Table, Work, against, duration, in_turn

COUNTS = 8, 500, 15_000
HOLDER = """
import os, resource, sys
count = int(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
while max(map(int, os.listdir("/proc/self/fd"))) + 1 <= count:
    os.open("/dev/null", os.O_RDONLY)
print("ready", flush=True)
sys.stdin.read()
"""


def holding(stack: ExitStack, count: int) -> int:
    """Start a process with `count` open descriptors until the end of `stack`; return its pid."""
    command = [sys.executable, "-c", HOLDER, str(count)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.enter_context(child)
    stack.callback(child.stdin.close)
    assert child.stdout.readline() == "ready\n"
    return child.pid


def shell(command: str) -> Work:
    """Return what runs a shell's command line."""
    return lambda: subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, check=True)


def ways(pid: int) -> dict[str, Work]:
    """Return the ways to count the descriptors of `pid`."""
    return {
        "harness": lambda: fds.count(pid),
        "psutil.num_fds": lambda: psutil.Process(pid).num_fds(),
        "ls /proc/PID/fd": shell(f"ls /proc/{pid}/fd | wc -l"),
        "lsof -p PID": shell(f"lsof -p {pid} | wc -l"),
    }


def counts(rounds: int) -> Table:
    """Time one count at 8, 500 and 15,000 open descriptors."""
    with ExitStack() as stack:
        pids = {count: holding(stack, count) for count in COUNTS}
        ours = in_turn({str(n): ways(pid)["harness"] for n, pid in pids.items()}, 100 * rounds)
        medians = {count: in_turn(ways(pid), rounds) for count, pid in pids.items()}
    rows = [
        [name, *(duration(medians[count][name]) for count in COUNTS)] for name in ways(os.getpid())
    ]
    rows[0] = ["harness", *(duration(ours[str(count)]) for count in COUNTS)]
    growth = Limit("harness, 15,000 open against 8", ours[str(COUNTS[-1])] / ours["8"], 1.2)
    return Table("Counting descriptors", ["", "8", "500", "15,000"], rows, [growth])


@contextmanager
def opened(number: int) -> Iterator[None]:
    """Keep `number` descriptors open in this process."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    numbers = [os.open("/dev/null", os.O_RDONLY) for _ in range(number)]
    try:
        yield
    finally:
        for each in numbers:
            os.close(each)


def listing(rounds: int) -> Table:
    """Time a listing of this process's descriptors with their targets."""
    with opened(COUNTS[-1]):
        medians = in_turn(
            {
                "harness": lambda: list(fds.targets()),
                "psutil.open_files": psutil.Process().open_files,
                "lsof -p PID": shell(f"lsof -p {os.getpid()}"),
            },
            rounds,
        )
    note = "psutil lists regular files only."
    limits = [Limit("harness against lsof", medians["harness"] / medians["lsof -p PID"], 1)]
    return Table(
        "Listing 15,000 descriptors",
        ["", "median", "× harness"],
        against(medians, "harness"),
        limits,
        note,
    )


def tables(rounds: int) -> list[Table]:
    """Measure both."""
    return [counts(rounds), listing(rounds)]
