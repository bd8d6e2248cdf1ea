"""What `harness watch` costs at each report, with few and with many open descriptors."""

import time
from contextlib import ExitStack
from dataclasses import replace

from harness.clock import SystemClock
from harness.probes.process import Process
from harness.watching import SHARE, Watcher

from .bench_counts import holding
from .measure import Effort, Limit, Row, Table, duration, in_turn, ratio

FEW, MANY = 8, 15_000
LISTINGS = 3
LONGEST_S = 60.0


def listing_share(pid: int, every_s: float) -> float:
    """Return the share of the time from the first listing to the last that listings took."""
    starts_s: list[float] = []
    costs_s: list[float] = []

    class Timed(Process):
        def listing(self):
            starts_s.append(time.perf_counter())
            found = super().listing()
            costs_s.append(time.perf_counter() - starts_s[-1])
            return found

    for _ in Watcher(Timed(pid), SystemClock(), every_s).watch(LONGEST_S):
        if len(starts_s) >= LISTINGS:
            break
    return sum(costs_s[:-1]) / (starts_s[-1] - starts_s[0])


def tables(effort: Effort) -> list[Table]:
    """Time the count, the report's figures and the listing of both processes."""
    with ExitStack() as stack:
        few, many = (Process(holding(stack, count)) for count in (FEW, MANY))
        rows = []
        for name in ("open_fds", "figures", "listing"):
            often = effort if name == "listing" else replace(effort, rounds=10 * effort.rounds)
            medians = in_turn({"few": getattr(few, name), "many": getattr(many, name)}, often)
            growth = ratio(medians, "many", "few")
            limits = [] if name == "listing" else [Limit(growth, "× at 8", 1.5, 2)]
            rows.append(Row([name, *map(duration, medians.values())], limits))
        share = listing_share(many.pid, 0.1)
    limits = [Limit(share, "of the time", SHARE * 1.05, SHARE * 1.5)]
    rows.append(Row(["listings in a watch", "–", f"{share:.2%} of the time"], limits))
    return [Table("Watching a process", ["", "8 open", "15,000 open"], rows)]
