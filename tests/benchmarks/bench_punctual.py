"""How late report lines come, and what a comparison costs: `python .../bench_punctual.py`.

On an idle machine a report comes within 20 ms of its time, and a comparison of 10 s takes at most
11.5 s. Exit status 1 when either takes longer.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EVERY_S = 2.0
DURATION_S = 10.0
LATE_LIMIT_S = 0.020
WALL_LIMIT_S = 11.5


def main() -> int:
    """Print the latest report's lateness and the comparison's time; return the exit status."""
    began_s = time.monotonic()
    command = [sys.executable, "-m", "labs.file_leak", "--json", "--port=0"]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True
    )
    wall_s = time.monotonic() - began_s
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    times_s = [each["elapsed_s"] for each in objects if each["event"] == "report"]
    late_s = max(time_s - round(time_s / EVERY_S) * EVERY_S for time_s in times_s)
    print(
        f"latest of {len(times_s)} reports: {late_s * 1e3:.1f} ms after its time "
        f"(limit {LATE_LIMIT_S * 1e3:.0f} ms); comparison of {DURATION_S:.0f} s: {wall_s:.2f} s "
        f"(limit {WALL_LIMIT_S} s)"
    )
    return 0 if late_s <= LATE_LIMIT_S and wall_s <= WALL_LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
