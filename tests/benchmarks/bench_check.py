"""How long a verdict takes, start of the child included, and what a comparison adds to its time."""

import subprocess
import sys
import tempfile
from pathlib import Path

from .measure import Limit, Table, duration, in_turn, seconds

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
COMPARED_S = 4


def judge(target: str, status: int) -> None:
    """Run one `harness check`; its verdict must be the true one."""
    command = [sys.executable, "-m", "harness", "check", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert done.returncode == status, done.stderr


def verdicts(rounds: int) -> Table:
    """Time `harness check` on functions that take 1 ms."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(PROGRAM, encoding="utf-8")
        works = {
            name: lambda name=name, status=status: judge(f"{path}:{name}", status)
            for name, status in STATUSES.items()
        }
        medians = in_turn(works, rounds)
    rows = [[name, duration(median_s)] for name, median_s in medians.items()]
    limits = [Limit("the longest, in seconds", max(medians.values()), LIMIT_S)]
    return Table("Verdict of harness check on a 1 ms function", ["", "median"], rows, limits)


def comparison() -> Table:
    """Time a whole comparison, start and table included, against its length."""
    command = [sys.executable, "-m", "labs.file_leak", "--port=0", f"--duration={COMPARED_S}"]
    took_s = seconds(lambda: subprocess.run(command, cwd=ROOT, capture_output=True, check=True))
    over_s = took_s - COMPARED_S
    rows = [[f"comparison of {COMPARED_S} s", duration(took_s), duration(over_s)]]
    limits = [Limit("time on top, in seconds", over_s, 1.5)]
    return Table("A comparison's time", ["", "wall time", "on top"], rows, limits)


def tables(rounds: int) -> list[Table]:
    """Measure both."""
    return [verdicts(rounds), comparison()]
