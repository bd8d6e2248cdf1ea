"""Hostile requests to a running lab's debug server: none may hurt the server or the lab."""

import json
import re
import signal
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from threading import Lock

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.running import Started

from .cases import Order, Outcome, faults, outcomes, place
from .hostile import answer, get, raw, requests, spoken
from .tables import Limit, Table

COUNT, SHORT = 10_000, 1_000
BATCH = 25
"""Requests of one case."""
RATE_HZ, REPORT_EVERY_S = 50, 0.5
QUIET_S = 4.0
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
MOST_LATE_S = 0.5
"""Of a report, in the median: the machine has other work, too."""
MORE_FDS = 0


class Tally:
    """Counts the answers by kind of request and status."""

    def __init__(self) -> None:
        self.by_kind: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._lock = Lock()

    def add(self, kind: str, got: bytes) -> str | None:
        """Count an answer; return what is wrong with it."""
        found = STATUS.match(got)
        status = found[1].decode() if found else "none" if not got else "no HTTP"
        with self._lock:
            self.by_kind[kind][status] += 1
        return f"{kind}: answered {got[:300]!r}" if status.startswith("5") else None


def batch(port: int, tally: Tally, number: int, choice: Random) -> Outcome:
    """Send one batch: by hypothesis where the number is even, else raw."""
    if number % 2:
        wrong = [tally.add(kind, got) for kind, got in raw(port, choice, BATCH)]
        return Outcome("raw", "sent", tuple(each for each in wrong if each))
    made = Outcome("hypothesis", "sent")

    @seed(choice.randrange(2**32))
    @settings(
        max_examples=BATCH,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def send(request: bytes) -> None:
        nonlocal made
        if wrong := tally.add("well-formed", spoken(lambda: answer(port, request, 1.0))):
            made = replace(made, faults=(*made.faults, f"{request!r}: {wrong}"))

    send()
    return made


def reports(run: Started) -> list[dict[str, float]]:
    """Return the run's reports so far."""
    lines = "".join(run._out).splitlines()
    return [json.loads(line) for line in lines if '"event": "report"' in line]


def lateness_s(found: Sequence[dict[str, float]], since: int) -> list[float]:
    """Return how late each report came; `since` is the number of the first, from 1."""
    return [each["elapsed_s"] - number * REPORT_EVERY_S for number, each in enumerate(found, since)]


def missed(found: Sequence[dict[str, float]], since: int) -> int:
    """Return how many operations too few or too many there were at the reports."""
    due = [round(number * REPORT_EVERY_S * RATE_HZ) for number in range(since, since + len(found))]
    return sum(abs(each["operations"] - wanted) for each, wanted in zip(found, due, strict=True))


def settled(process: psutil.Process, baseline: int, within_s: float = 25) -> int:
    """Return how many descriptors are open, once they are no more than at first."""
    deadline_s = time.monotonic() + within_s
    while (count := process.num_fds()) > baseline and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return count


def tables(order: Order) -> list[Table]:
    """Send `count` requests to a fixed lab that runs as long."""
    order = replace(order, count=max(2, order.count // BATCH), workers=2 * order.workers)
    tally = Tally()
    with place() as here:
        run = here.start(
            "--fixed", "--forever", "--json", "--port=0", f"--rate={RATE_HZ}",
            f"--report-every={REPORT_EVERY_S}",
        )  # fmt: skip
        port = int(run.see(r'"server_port": (\d+)')[1])
        answer(port, get("/page/open.json?holders=1"), 20)
        time.sleep(QUIET_S)
        process, quiet = psutil.Process(run.pid), reports(run)[1:]
        baseline = settled(process, 0, within_s=0)
        found = outcomes(order, lambda number, choice: batch(port, tally, number, choice))
        attacked = reports(run)[len(quiet) + 1 :]
        alive, after = process.is_running(), settled(process, baseline)
        still = answer(port, get("/"), 20)[:12].decode()
        run.process.send_signal(signal.SIGTERM)
        ended = run.end()
        remains = here.leftovers()
    late_s = lateness_s(attacked, 1 + len(quiet))
    limits = [
        Limit("batches with a fault", sum(bool(each.faults) for each in found.values()), 0),
        Limit("descriptors more than before", after - baseline, MORE_FDS),
        Limit("reports late in the median, s", statistics.median(late_s or [0]), MOST_LATE_S),
        Limit("operations missed or too many", missed(attacked, 1 + len(quiet)), 0),
        Limit("died", float(not alive or ended.status != 143), 0),
        Limit("no page afterwards", float(still != "HTTP/1.1 200"), 0),
        Limit("lines on stderr", len(ended.err.splitlines()), 0),
        Limit("left behind", len(remains), 0),
    ]
    sent = sum(sum(statuses.values()) for statuses in tally.by_kind.values())
    quiet_s, worst_s = statistics.median(lateness_s(quiet, 1) or [0]), max(late_s or [0])
    note = (
        f"{sent} requests in batches of {BATCH}. {len(attacked)} reports came meanwhile, "
        f"{statistics.median(late_s or [0]) * 1000:.1f} ms late in the median and "
        f"{worst_s * 1000:.0f} ms at most; undisturbed {quiet_s * 1000:.1f} ms. "
        f"Descriptors: {baseline} before, {after} after."
    )
    told = "\n".join([*faults(order, found), *ended.err.splitlines()[:20]])
    rows = [
        [kind, str(sum(got.values())), ", ".join(f"{how} ({n})" for how, n in sorted(got.items()))]
        for kind, got in sorted(tally.by_kind.items())
    ]
    headers = "requests", "sent", "answers by status"
    return [Table("Hostile requests", headers, rows, limits, f"{note}\n\n{told}".strip())]
