"""How long a verdict takes, start of the child included, and what a comparison adds to its time."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from .bench_start import plain
from .measure import (
    FEWEST_ROUNDS,
    Effort,
    Limit,
    Medians,
    Row,
    Table,
    Work,
    duration,
    in_turn,
    ratio,
    seconds,
)

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 1.0
PROGRAM = """
import asyncio, time
KEPT = []
def clean():
    time.sleep(0.001)
def leaky():
    time.sleep(0.001)
    KEPT.append(open("/dev/null"))
async def leaky_async():
    await asyncio.sleep(0.001)
    KEPT.append(open("/dev/null"))
"""
STATUSES = {"clean": 0, "leaky": 1, "leaky_async": 1}
COMPARED_S, COMPARED_SHORT_S = 10, 4
EMPTY_TEST = "pytest on an empty test"


def judge(target: str, status: int) -> None:
    """Run one `harness check`; its verdict must be the true one."""
    line = [sys.executable, "-m", "harness", "check", target]
    done = subprocess.run(line, cwd=ROOT, env=plain(), capture_output=True)
    assert done.returncode == status, done.stderr


def empty_test() -> None:
    """Let pytest judge a function that does nothing: what a verdict costs without a measurement."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing(): pass\n", encoding="utf-8")
        line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        alone = plain() | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        subprocess.run(line, cwd=folder, env=alone, capture_output=True, check=True)


def verdicts(effort: Effort) -> Table:
    """Time `harness check` on functions that take 1 ms."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(PROGRAM, encoding="utf-8")
        works: dict[str, Work] = {
            name: lambda name=name, status=status: judge(f"{path}:{name}", status)
            for name, status in STATUSES.items()
        }
        works[EMPTY_TEST] = empty_test
        medians = in_turn(works, replace(effort, budget_s=3 * effort.budget_s))
    rows = [
        Row([name, duration(median_s)], limits(medians, name) if name in STATUSES else [])
        for name, median_s in medians.items()
    ]
    return Table("Verdict of `harness check` on a function of 1 ms", ["", "median"], rows)


def limits(medians: Medians, name: str) -> list[Limit]:
    """Return what a verdict is held to."""
    return [
        Limit(medians[name], "s", LIMIT_S),
        Limit(ratio(medians, name, EMPTY_TEST), "× an empty test", 3, 4),
    ]


def comparison(effort: Effort) -> Table:
    """Time a whole comparison, start and table included, against its length."""
    length_s = COMPARED_SHORT_S if effort.short else COMPARED_S
    line = [sys.executable, "-m", "labs.file_leak", "--port=0", f"--duration={length_s}"]
    work = partial(subprocess.run, line, cwd=ROOT, env=plain(), capture_output=True, check=True)
    took_s = median(seconds(work) for _ in range(FEWEST_ROUNDS))
    whole = Limit(took_s / length_s, "× its duration", 1.15, 1.8)
    rows = [Row([f"of {length_s} s", duration(took_s), duration(took_s - length_s)], [whole])]
    return Table("A comparison, start and table included", ["", "wall time", "on top"], rows)


def tables(effort: Effort) -> list[Table]:
    """Measure both."""
    return [verdicts(effort), comparison(effort)]
