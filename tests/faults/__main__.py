"""Breaks the labs in every way at hand and writes RESULTS.md: `python -m tests.faults [NAME ...]`.

Each campaign writes its part; with `--short`, a count or one case they are printed only. Exit
status 1 when there is a fault.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import SystemRandom

from harness.stops import stop_on_signals
from tests.benchmarks.__main__ import machine
from tests.benchmarks.measure import seconds

from .cases import Order
from .tables import Table

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
PART = re.compile(r"<!-- (\w+) -->.*?(?=<!-- |\Z)", re.DOTALL)
HEAD = (
    "# What it withstands\n\nWritten by `python -m tests.faults`, each part by its own command.\n"
)
NAMES = "endings", "requests", "verdicts", "slow_leaks", "readers", "soak"


def parsed() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser("tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--short", action="store_true", help="few cases, for every change")
    parser.add_argument("--count", type=int, help="cases of each campaign (seconds of a soak)")
    parser.add_argument("--seed", type=int, help="of all random choices (default: a new one)")
    parser.add_argument("--only", type=int, metavar="N", help="case N alone, to see a fault again")
    parser.add_argument("--workers", type=int, default=4, help="cases side by side (default: 4)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"{', '.join(unknown)}: no campaign of that name")
    if given.only is not None and len(given.names) != 1:
        parser.error("--only: name the one campaign that the case is of")
    return given


def campaign(name: str, given: argparse.Namespace, seed: int) -> list[Table]:
    """Run one campaign; show its tables as soon as they are there."""
    module = importlib.import_module(f"{__package__}.{name}")
    count = given.count or (module.SHORT if given.short else module.COUNT)
    found: list[Table] = []
    order = Order(name, seed, count, given.workers, given.only)
    took_s = seconds(lambda: found.extend(module.tables(order)))
    for table in found:
        print(table.as_markdown(), flush=True)
    print(f"{name}: {took_s:.0f} s\n", flush=True)
    return found


def section(name: str, head: str, tables: Sequence[Table]) -> str:
    """Return a campaign's part of RESULTS.md."""
    return "\n".join([f"<!-- {name} -->\n{head}\n", *(table.as_markdown() for table in tables)])


def write(sections: Mapping[str, str]) -> None:
    """Write RESULTS.md: these campaigns' parts anew, those of the others as they were."""
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    parts = {found[1]: found[0].strip() for found in PART.finditer(before)} | sections
    body = [parts[name].strip() + "\n" for name in NAMES if name in parts]
    found = (HERE / "FOUND.md").read_text(encoding="utf-8")
    RESULTS.write_text("\n".join([HEAD, *body, f"<!-- found -->\n{found}"]), encoding="utf-8")


def main() -> int:
    """Run the campaigns, write, and return the exit status."""
    given = parsed()
    stop_on_signals()
    seed = SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}\n", flush=True)
    tables, heads = {}, {}
    for name in given.names or NAMES:
        heads[name] = f"{machine()} `python -m tests.faults {name} --seed {seed}`"
        tables[name] = campaign(name, given, seed)
    if not (given.short or given.count or given.only is not None):
        write({name: section(name, heads[name], found) for name, found in tables.items()})
    missed = [
        f"{table.title}: {limit}"
        for found in tables.values()
        for table in found
        for limit in table.limits
        if not limit.met
    ]
    print("\n".join(missed) or "no fault")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
