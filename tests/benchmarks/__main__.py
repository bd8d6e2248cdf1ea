"""Runs every benchmark and writes RESULTS.md: `python -m tests.benchmarks [--short] [NAME ...]`.

With `--short` or names the results are printed only. Exit status 1 when a figure passes its limit.
"""

import argparse
import importlib
import os
import platform
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from .measure import Table

HERE = Path(__file__).parent
NAMES = "counts", "sockets", "tracker", "snapshots", "pace", "start", "check", "watch", "page"
ROUNDS, SHORT_ROUNDS = 21, 5


def measure(names: Sequence[str], rounds: int) -> list[Table]:
    """Run the benchmarks of these names; show each table as soon as it is there."""
    found = []
    for name in names:
        module = importlib.import_module(f"{__package__}.bench_{name}")
        for table in module.tables(rounds):
            print(table.as_markdown(), flush=True)
            found.append(table)
    return found


def machine() -> str:
    """Describe what the figures come from."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{date.today().isoformat()}, {platform.system()} {platform.release()} on "
        f"{platform.machine()}, {os.cpu_count()} processors, {memory_gb:.0f} GB, "
        f"CPython {platform.python_version()}."
    )


def document(tables: Sequence[Table]) -> str:
    """Return RESULTS.md."""
    head = (
        "# What it costs\n\nWritten by `python -m tests.benchmarks`: medians of one run, each way "
        f"measured in turn with the others.\n\n{machine()}\n"
    )
    return "\n".join([head, *(table.as_markdown() for table in tables)])


def main() -> int:
    """Measure, write, and return the exit status."""
    parser = argparse.ArgumentParser("tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--short", action="store_true", help="fewer rounds, nothing is written")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"{', '.join(unknown)}: no benchmark of that name")
    tables = measure(given.names or NAMES, SHORT_ROUNDS if given.short else ROUNDS)
    if not given.names and not given.short:
        (HERE / "RESULTS.md").write_text(document(tables), encoding="utf-8")
    missed = [str(limit) for table in tables for limit in table.limits if not limit.met]
    print("\n".join(missed) or "every figure keeps to its limit")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
