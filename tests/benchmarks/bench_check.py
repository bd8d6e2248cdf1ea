"""How long a verdict takes, start of the child included: `python tests/benchmarks/bench_check.py`.

Exit status 1 when the median of a kind of function is over its limit.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNS = 7
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


def verdict_s(target: str, status: int) -> float:
    """Return the wall time of one `harness check`, in seconds; its verdict must be the true one."""
    start_s = time.perf_counter()
    command = [sys.executable, "-m", "harness", "check", target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert done.returncode == status, done.stderr
    return time.perf_counter() - start_s


def main() -> int:
    """Print each median and whether it is within the limit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(PROGRAM, encoding="utf-8")
        medians = {
            name: statistics.median(verdict_s(f"{path}:{name}", status) for _ in range(RUNS))
            for name, status in STATUSES.items()
        }
    for name, median_s in medians.items():
        print(f"verdict on {name:<12} {median_s:.2f} s   at most {LIMIT_S:.1f} s")
    return int(max(medians.values()) > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
