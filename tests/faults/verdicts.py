"""Verdicts under bad conditions: no fixed twin is called a leak, no leaky one is missed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random

from labs.course import catalogue
from tests.running import ROOT, Place

from .cases import Order, Outcome, outcomes, place, table
from .endings import has_upstream
from .tables import Table

COUNT, SHORT = 1000, 24
"""Half of them fixed, half leaky."""
REPORTS, REPORT_EVERY_S = 4, 0.5
PATIENCE_S = 120.0
WITHOUT_GC = (
    "import gc, runpy, sys; gc.disable(); gc.enable = lambda: None; "
    "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)
SLOW_DISK = """
import os, sys
while os.getppid() == int(sys.argv[2]):
    with open(sys.argv[1], "wb") as file:
        for _ in range(64):
            file.write(bytes(1 << 18))
            os.fsync(file.fileno())
"""
BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    sum(range(100_000))"


@contextmanager
def bad_conditions() -> Iterator[None]:
    """Keep every core busy and the disk writing for the body of the `with`."""
    me = str(os.getpid())
    with ExitStack() as stack, place() as here:
        commands = [["-c", BUSY, me]] * (os.cpu_count() or 1)
        for command in [*commands, ["-c", SLOW_DISK, str(here.tmp / "written"), me]]:
            process = subprocess.Popen([sys.executable, *command])
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield


def command(here: Place, name: str, variant: str, choice: Random) -> list[str]:
    """Return a short run's command, of half of the runs without garbage collection."""
    arguments = [f"labs.{name}", f"--{variant}", "--json", "--port=0"]
    arguments += [f"--duration={REPORTS * REPORT_EVERY_S}", f"--report-every={REPORT_EVERY_S}"]
    arguments += ["--upstream-port=0"] if has_upstream(name) else []
    how = ["-c", WITHOUT_GC] if choice.random() < 0.5 else ["-m"]
    return [sys.executable, *how, *arguments]


def run(number: int, choice: Random) -> Outcome:
    """Run a twin, fixed where the number is even, and compare its verdict with what it is."""
    variant = "leaky" if number % 2 else "fixed"
    name = choice.choice(catalogue.names())
    with place() as here:
        words = command(here, name, variant, choice)
        done = subprocess.run(
            words, cwd=ROOT, env=here.environment(), capture_output=True, encoding="utf-8",
            stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
        )  # fmt: skip
    told = f"{name} --{variant}{' without gc' if '-c' in words else ''}"
    if done.returncode != 0 or done.stderr:
        wrong = f"{told}: status {done.returncode}: {done.stderr[-300:]!r}"
        return Outcome(f"{variant} {name}", "failed", (wrong,))
    verdict = json.loads(done.stdout.splitlines()[-1])["verdict"]
    said = SAID[verdict["leaking"] if verdict else None]
    is_right = said == "leak" if variant == "leaky" else said != "leak"
    faults = () if is_right else (f"{told}: {said}, {verdict and verdict['evidence']}",)
    return Outcome(f"{variant} {name}", said, faults)


SAID = {True: "leak", False: "stable", None: "open"}


def tables(order: Order) -> list[Table]:
    """Run the cases while the machine is busy."""
    with bad_conditions():
        found = outcomes(order, run)
    note = (
        f"Runs of {REPORTS} reports each, {order.workers} at a time, while as many processes as "
        "there are cores do nothing but count and another writes to the same disk and waits for it "
        "(`fsync`) all the time; half of the runs without garbage collection. No fixed twin may "
        "be called a leak, every leaky one must be. A verdict that is open claims nothing."
    )
    return [table("Verdicts", order, found, note)]
