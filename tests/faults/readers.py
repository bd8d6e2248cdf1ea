"""Files that come from elsewhere, damaged in every way that atheris (libFuzzer) finds."""

import importlib.util
import subprocess
import sys
from random import Random

from tests.running import ROOT

from .cases import Order, Outcome, faults, outcomes, place
from .tables import Limit, Table

COUNT, SHORT = 200_000, 4_000
TARGETS = {
    "profile": "profile.proto, decoded and rendered",
    "command": "the file of `harness pprof top`",
    "course": "the course's progress file",
    "lines": "the JSON lines of a run",
}
OPTIONS = "-max_len=4096", "-timeout=60", "-rss_limit_mb=4096"


def run(name: str, count: int, choice: Random) -> Outcome:
    """Fuzz one reader `count` times."""
    seed = choice.randrange(1, 2**31)
    with place() as here:
        words = [sys.executable, "-m", "tests.faults.fuzzing", name, str(here.tmp / "fuzzed")]
        done = subprocess.run(
            [*words, f"-runs={count}", f"-seed={seed}", *OPTIONS],
            cwd=ROOT, env=here.environment(), capture_output=True, encoding="utf-8",
            errors="replace", timeout=7200,
        )  # fmt: skip
    if done.returncode == 0:
        return Outcome(TARGETS[name], "no crash")
    told = (done.stdout + done.stderr)[-2500:]
    return Outcome(TARGETS[name], "crashed", (f"{name}: status {done.returncode}: {told!r}",))


def tables(order: Order) -> list[Table]:
    """Fuzz each reader `count` times."""
    headers = "reader", "inputs", "came of it"
    if importlib.util.find_spec("atheris") is None:
        return [Table("Readers", headers, [], note="atheris is not installed: nothing was fuzzed.")]
    cases = Order(order.name, order.seed, len(TARGETS), order.workers, order.only)
    names = list(TARGETS)
    found = outcomes(cases, lambda number, choice: run(names[number], order.count, choice))
    rows = [[each.kind, f"{order.count}", each.ended] for each in found.values()]
    note = "By atheris, guided by the coverage of `harness` and `labs`, from valid examples."
    told = "\n".join(faults(cases, found))
    limits = [Limit("readers that crashed", sum(bool(each.faults) for each in found.values()), 0)]
    return [Table("Readers", headers, rows, limits, f"{note}\n\n{told}".strip())]
