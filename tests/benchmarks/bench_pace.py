"""How late paced operations come: ours, a loop that sleeps, and a ticker in Go."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness.clock import SystemClock
from harness.runner import Pace

from .measure import Limit, Table, duration

RATES_HZ = 50, 1000, 5000
HERE = Path(__file__).parent
Done = tuple[list[float], int]
"""How late each operation came, in seconds, and how many were made in the time."""


def ours(rate_hz: float, duration_s: float) -> Done:
    """Wait for each step of our pace, as the runner does."""
    clock, late_s = SystemClock(), []
    start_s = clock.now_s()
    for step in Pace(rate_hz, duration_s, duration_s).steps():
        clock.wait_until(start_s + step.due_s)
        if step.operation is not None:
            late_s.append(clock.now_s() - start_s - step.due_s)
    return late_s, len(late_s)


def naive(rate_hz: float, duration_s: float) -> Done:
    """Sleep for one period after each operation."""
    late_s: list[float] = []
    start_s = time.monotonic()
    while (now_s := time.monotonic() - start_s) < duration_s:
        late_s.append(now_s - len(late_s) / rate_hz)
        time.sleep(1 / rate_hz)
    return late_s, len(late_s)


def in_go(program: str, rate_hz: float, duration_s: float) -> Done:
    """Run the ticker, which prints what it measured."""
    done = subprocess.run(
        [program, "ticker", str(rate_hz), str(duration_s)], stdout=subprocess.PIPE, check=True
    )
    late_s = json.loads(done.stdout)
    return late_s, len(late_s)


def built(folder: str) -> str | None:
    """Build the Go program; `None` where there is no Go."""
    if shutil.which("go") is None:
        return None
    target = str(Path(folder, "program"))
    source = str(HERE / "goprogram" / "main.go")
    subprocess.run(["go", "build", "-o", target, source], check=True)
    return target


def row(name: str, rate_hz: float, wanted: float, done: Done) -> list[str]:
    """Return a table's row: how late in the median, at 99 % and at most, and the count."""
    late_s, count = sorted(done[0]), done[1]
    points = late_s[len(late_s) // 2], late_s[int(len(late_s) * 0.99)], late_s[-1]
    return [name, f"{rate_hz}/s", *map(duration, points), f"{count} of {wanted:.0f}"]


def tables(rounds: int) -> list[Table]:
    """Measure each way at each rate, one after another."""
    duration_s = min(10.0, 0.4 * rounds)
    rows: list[Sequence[str]] = []
    missed = 0.0
    with tempfile.TemporaryDirectory() as folder:
        go = built(folder)
        for rate_hz in RATES_HZ:
            wanted = rate_hz * duration_s
            ours_done = ours(rate_hz, duration_s)
            missed = max(missed, abs(wanted - ours_done[1]))
            rows.append(row("harness", rate_hz, wanted, ours_done))
            rows.append(row("sleep loop", rate_hz, wanted, naive(rate_hz, duration_s)))
            if go:
                rows.append(row("Go ticker", rate_hz, wanted, in_go(go, rate_hz, duration_s)))
    headers = ["", "rate", "late, median", "late, 99 %", "late, most", "operations"]
    note = f"Over {duration_s:g} s each." + ("" if go else " Go is not installed: no Go row.")
    limits = [Limit("operations that harness missed or made too many", missed, 0)]
    return [Table("Pace", headers, rows, limits, note)]
