"""Breaks the labs in every way at hand and writes RESULTS.md: `python -m tests.faults [NAME ...]`.

With `--short`, names or a count the results are printed only. Exit status 1 when there is a fault.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from tests.benchmarks.__main__ import machine
from tests.benchmarks.measure import Table, seconds

from .cases import Order

HERE = Path(__file__).parent
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


def document(tables: Sequence[Table], seed: int) -> str:
    """Return RESULTS.md, with what the long form has found so far."""
    head = (
        "# What it withstands\n\n"
        f"Written by `python -m tests.faults --seed {seed}`.\n\n{machine()}\n"
    )
    found = (HERE / "FOUND.md").read_text(encoding="utf-8")
    return "\n".join([head, *(table.as_markdown() for table in tables), found])


def main() -> int:
    """Run the campaigns, write, and return the exit status."""
    given = parsed()
    seed = SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}\n", flush=True)
    tables = [table for name in given.names or NAMES for table in campaign(name, given, seed)]
    if not (given.names or given.short or given.count):
        (HERE / "RESULTS.md").write_text(document(tables, seed), encoding="utf-8")
    missed = [
        f"{table.title}: {limit}" for table in tables for limit in table.limits if not limit.met
    ]
    print("\n".join(missed) or "no fault")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
