"""Runs every benchmark and writes RESULTS.md: `python -m tests.benchmarks [--short] [NAME ...]`.

With `--short` or names the tables are printed only. Exit status 1 when a figure passes its bound.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

from .measure import LONG, SHORT, Effort, Table, tables_of

HERE = Path(__file__).parent
NAMES = (
    "counts", "sockets", "tracker", "snapshots", "pace", "start", "check", "labs", "watch", "page",
)  # fmt: skip


def measure(names: Sequence[str], effort: Effort) -> Iterator[Table]:
    """Run the benchmarks of these names, each in a process of its own; show how far they are."""
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    columns = "{task.description} {task.completed}/{task.total}", TimeElapsedColumn()
    console = Console(stderr=True)
    with (
        ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool,
        Progress(
            *columns,
            console=console,
            refresh_per_second=1,
            redirect_stdout=sys.stdout.isatty(),
            disable=not console.is_terminal,
        ) as progress,
    ):
        task = progress.add_task("", total=len(names))
        for name in names:
            progress.update(task, description=name)
            yield from pool.submit(tables_of, name, effort).result()
            progress.advance(task)


def machine() -> str:
    """Describe what the figures come from."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{date.today().isoformat()}, {platform.system()} {platform.release()} on "
        f"{platform.machine()}, {processor()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, load "
        f"{os.getloadavg()[0]:.1f} as it began, CPython {platform.python_version()}."
    )


def processor() -> str:
    """Name the processor as the kernel does, or by its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "processor unknown")


def document(described: str, tables: Sequence[Table]) -> str:
    """Return RESULTS.md."""
    head = (
        "# What it costs\n\nWritten by `python -m tests.benchmarks`: medians of one run, each way "
        "measured in turn with\nthe others; × says how many times ours, or bare, a figure is.\n\n"
        f"{described}\n"
    )
    return "\n".join([head, *(table.as_markdown(short=False) for table in tables)])


def main() -> int:
    """Measure, write, and return the exit status."""
    parser = argparse.ArgumentParser("tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--short", action="store_true", help="in a few minutes; bounds on ratios")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"{', '.join(unknown)}: no benchmark of that name")
    effort, described, tables = SHORT if given.short else LONG, machine(), []
    for table in measure(given.names or NAMES, effort):
        print(table.as_markdown(effort.short), flush=True)
        tables.append(table)
    if not given.names and not given.short:
        (HERE / "RESULTS.md").write_text(document(described, tables), encoding="utf-8")
    missed = [line for table in tables for line in table.missed(effort.short)]
    print("\n".join(missed) or "every figure keeps to its bound")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
