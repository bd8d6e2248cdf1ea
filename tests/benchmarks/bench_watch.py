"""What `harness watch` costs at each report, with few and with many open descriptors."""

import time
from contextlib import ExitStack

from harness.clock import SystemClock
from harness.probes.process import Process
from harness.watching import SHARE, Watcher

from .bench_counts import holding
from .measure import Limit, Table, duration, in_turn

FEW, MANY = 8, 15_000


def listing_share(pid: int, every_s: float, reports: int) -> float:
    """Return the share of the time from the first listing to the last that listings took."""
    starts_s: list[float] = []
    costs_s: list[float] = []

    class Timed(Process):
        def listing(self):
            starts_s.append(time.perf_counter())
            found = super().listing()
            costs_s.append(time.perf_counter() - starts_s[-1])
            return found

    for _ in Watcher(Timed(pid), SystemClock(), every_s).watch(every_s * reports):
        pass
    return sum(costs_s[:-1]) / (starts_s[-1] - starts_s[0])


def tables(rounds: int) -> list[Table]:
    """Time the count, the report's figures and the listing of both processes."""
    with ExitStack() as stack:
        few, many = (Process(holding(stack, count)) for count in (FEW, MANY))
        rows, growth = [], {}
        for name in ("open_fds", "figures", "listing"):
            often = rounds if name == "listing" else 10 * rounds
            works = {"few": getattr(few, name), "many": getattr(many, name)}
            medians = in_turn(works, often)
            growth[name] = medians["many"] / medians["few"]
            rows.append([name, *map(duration, medians.values()), f"{growth[name]:.2f}"])
        share = listing_share(many.pid, 0.1, 20 + 2 * rounds)
    limits = [
        Limit("a count at 15,000 against 8", growth["open_fds"], 1.5),
        Limit("a report's figures at 15,000 against 8", growth["figures"], 1.5),
        Limit("share of the time spent on listings", share, SHARE * 1.05),
    ]
    headers = ["", "8 open", "15,000 open", "ratio"]
    return [Table("Watching a process", headers, rows, limits)]
