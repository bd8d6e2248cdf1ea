"""How late paced operations come, and how many: ours, a loop that sleeps, and a ticker in Go."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.clock import SystemClock
from harness.runner import Pace

from .measure import Effort, Limit, Row, Table, Unavailable, available, duration, in_memory

RATES_HZ = 50, 1000, 5000
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REPORTS = 4
REPORT_LATE_S = 0.02


@dataclass(frozen=True)
class Done:
    """How late each operation came, in seconds, and how many were made at each report."""

    late_s: Sequence[float]
    counts: Sequence[int]


def ours(rate_hz: float, duration_s: float) -> Done:
    """Wait for each step of our pace, as the runner does."""
    clock, late_s, counts = SystemClock(), [], []
    start_s = clock.now_s()
    for step in Pace(rate_hz, duration_s / REPORTS, duration_s).steps():
        clock.wait_until(start_s + step.due_s)
        if step.operation is None:
            counts.append(len(late_s))
        else:
            late_s.append(clock.now_s() - start_s - step.due_s)
    return Done(late_s, counts)


def naive(rate_hz: float, duration_s: float) -> Done:
    """Sleep for one period after each operation."""
    late_s: list[float] = []
    start_s = time.monotonic()
    while (now_s := time.monotonic() - start_s) < duration_s:
        late_s.append(now_s - len(late_s) / rate_hz)
        time.sleep(1 / rate_hz)
    made_s = [number / rate_hz + late for number, late in enumerate(late_s)]
    return Done(late_s, counted(made_s, rate_hz, duration_s))


def in_go(program: str, rate_hz: float, duration_s: float) -> Done:
    """Run the ticker, which prints how late each tick was; its first comes after one period."""
    line = [program, "ticker", str(rate_hz), str(duration_s)]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    late_s = json.loads(done.stdout)
    made_s = [number / rate_hz + late for number, late in enumerate(late_s, start=1)]
    return Done(late_s, counted(made_s, rate_hz, duration_s))


def counted(made_s: Sequence[float], rate_hz: float, duration_s: float) -> list[int]:
    """Return how many operations were made by each report, which comes half a period late."""
    reports_s = [duration_s * number / REPORTS + 0.5 / rate_hz for number in range(1, REPORTS + 1)]
    return [sum(at_s <= report_s for at_s in made_s) for report_s in reports_s]


def built(folder: str) -> str:
    """Build the Go program; return its path."""
    if shutil.which("go") is None:
        raise Unavailable("go is not installed")
    target = Path(folder, "program")
    if not target.exists():
        source = str(HERE / "goprogram" / "main.go")
        subprocess.run(["go", "build", "-o", str(target), source], check=True)
    return str(target)


def row(name: str, rate_hz: float, done: Done, limits: Sequence[Limit] = ()) -> Row:
    """Return a table's row: how late in the median, at 99 % and at most, and the counts."""
    late_s = sorted(done.late_s)
    points = late_s[len(late_s) // 2], late_s[int(len(late_s) * 0.99)], late_s[-1]
    counts = " ".join(map(str, done.counts))
    return Row([name, f"{rate_hz}/s", *map(duration, points), counts], limits)


def at_rate(rate_hz: float, duration_s: float, program: str | None) -> list[Row]:
    """Measure each way at one rate, one after another."""
    found = ours(rate_hz, duration_s)
    wanted = [rate_hz * duration_s * number / REPORTS for number in range(1, REPORTS + 1)]
    missed = max(abs(count - should) for count, should in zip(found.counts, wanted, strict=True))
    rows = [
        row("harness", rate_hz, found, [Limit(missed, "missed", 0, 0)]),
        row("sleep loop", rate_hz, naive(rate_hz, duration_s)),
    ]
    if program:
        return [*rows, row("Go ticker", rate_hz, in_go(program, rate_hz, duration_s))]
    return [*rows, Row(["Go ticker", f"{rate_hz}/s", *["n/a"] * 4])]


def pace(duration_s: float) -> Table:
    """Compare operations that do nothing."""
    with tempfile.TemporaryDirectory() as folder:
        there = available("Go ticker", partial(built, folder))
        program = built(folder) if there else None
        rows = [row for rate_hz in RATES_HZ for row in at_rate(rate_hz, duration_s, program)]
    headers = ["", "rate", "late, median", "late, 99 %", "late, most", "made at each report"]
    return Table("Pace of operations", headers, rows, f"Over {duration_s:g} s each.")


def reported(rate_hz: float, duration_s: float) -> Row:
    """Run the file lab; return how late its reports were, and what they counted."""
    every_s = duration_s / REPORTS
    length = [f"--rate={rate_hz}", f"--duration={duration_s}", f"--report-every={every_s}"]
    line = [sys.executable, "-m", "labs.file_leak", "--fixed", "--json", "--no-server", *length]
    done = subprocess.run(line, cwd=ROOT, env=in_memory(), stdout=subprocess.PIPE, check=True)
    lines: list[Mapping[str, float]] = [json.loads(each) for each in done.stdout.splitlines()]
    reports = [each for each in lines if each["event"] == "report"][1:]  # the first is at zero
    late_s = [each["elapsed_s"] - every_s * at for at, each in enumerate(reports, start=1)]
    missed = [
        abs(each["operations"] - round(rate_hz * every_s * at))
        for at, each in enumerate(reports, start=1)
    ]
    limits = [
        Limit(max(late_s), "s late", REPORT_LATE_S),
        Limit(max(missed), "missed", 0, 0),
    ]
    counts = " ".join(str(each["operations"]) for each in reports)
    return Row([f"{rate_hz}/s", duration(max(late_s)), counts], limits)


def tables(effort: Effort) -> list[Table]:
    """Measure the pace alone, and that of a lab as its reports show it."""
    duration_s = 2.0 if effort.short else 6.0
    rows = [reported(rate_hz, duration_s) for rate_hz in RATES_HZ]
    headers = ["rate", "late, most", "operations at each report"]
    note = f"Over {duration_s:g} s each; the files are in memory."
    lab = Table("Reports of the fixed file lab", headers, rows, note)
    return [pace(duration_s), lab]
