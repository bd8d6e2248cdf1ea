"""`harness check` on what leaks once in 100 calls."""

import subprocess
import sys
from random import Random

from tests.running import ROOT

from . import slow
from .cases import Order, Outcome, outcomes, place, table
from .tables import Table

COUNT, SHORT = 120, 6
SETTINGS = "--calls=200", "--rounds=4"
LEAKING = "leaks_file", "leaks_descriptor", "leaks_socket", "leaks_thread"
CLEAN = "closes_all", "keeps_few"


def run(number: int, choice: Random) -> Outcome:
    """Check one function, the leak beginning at a random call."""
    name = (*LEAKING, *CLEAN)[number % (len(LEAKING) + len(CLEAN))]
    phase = choice.randrange(slow.EVERY)
    with place() as here:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "check", f"tests.faults.slow:{name}", *SETTINGS],
            cwd=ROOT, env=here.environment(FAULTS_PHASE=str(phase)), capture_output=True,
            encoding="utf-8", timeout=120,
        )  # fmt: skip
    wanted = int(name in LEAKING)
    said = {0: "clean", 1: "leak"}.get(done.returncode, "unknown")
    wrong = f"{name} from call {phase}: {said}: {(done.stdout + done.stderr)[-500:]!r}"
    return Outcome(name, said, () if done.returncode == wanted else (wrong,))


def tables(order: Order) -> list[Table]:
    """Check each function with a leak at a random phase."""
    note = (
        f"`python -m harness check {' '.join(SETTINGS)}` on functions of `tests/faults/slow.py`; "
        f"those that leak do so at each {slow.EVERY}th call. With the default of 10 to 25 calls in "
        "a round a leak as rare grows in too few rounds to be told from a cache that fills."
    )
    return [table("Leaks as slow as 1 in 100", order, outcomes(order, run), note)]
