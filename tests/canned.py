"""A lab and runs of made-up numbers, for tests of what shows and judges them."""

from types import ModuleType

from harness import table
from harness.gauges import OPEN_FDS, RSS_BYTES
from harness.model import (
    Ended,
    Event,
    Exhaustion,
    Failure,
    Gauge,
    Lab,
    Run,
    Sample,
    Sampled,
    Setting,
    Started,
    Traced,
    Variant,
    View,
)
from harness.verdict import judge

OPENED = Gauge("app_doors_opened_total", "Doors opened", "Doors opened")
CLOSED = Gauge("app_doors_closed_total", "Doors closed", "Doors closed")
PID = 4711

VIEWS = (
    View("lsof -p 4711 | wc -l", "lsof", ("512",), {"lsof_rows": 512}),
    View("ss -tan", "ss is not installed: from psutil", ("  3 ESTAB",), {}),
)


EVIDENCE = (
    "opened at doors.py:21 in Hall.open: 300 doors",
    "held by Hall._ajar (list, 300 items)",
)


def no_workload(_subject: ModuleType, _setting: Setting):
    """Stand where a lab has its workload; nothing here drives it."""
    raise NotImplementedError


LAB = Lab(
    name="doors",
    title="Doors left open",
    leaky=ModuleType("leaky"),
    fixed=ModuleType("fixed"),
    workload=no_workload,
    watch=OPEN_FDS,
    counters=(OPENED, CLOSED),
    judged=(OPEN_FDS,),
    warning="Doors are left open!",
    all_clear="Doors stable",
    rate_hz=50,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(OPENED),
        table.released_row(CLOSED, OPENED, "All closed"),
        table.MEMORY,
        table.RISK,
        table.view_row("Lsof Rows", "lsof_rows"),
        table.limit_row(None),
        table.limit_row(1024),
    ),
)


def sample(elapsed_s: float, operations: int, fds: float | None, closed: float = 0) -> Sample:
    """Return a sample of the canned lab; memory grows by 10 kB for each descriptor."""
    memory = None if fds is None else 20e6 + fds * 1e4
    values = {OPEN_FDS: fds, RSS_BYTES: memory, OPENED: operations, CLOSED: closed}
    return Sample(elapsed_s, operations, values)


def run(variant: str, reports: int = 5, limit: int | None = 20000) -> Run:
    """Return a run of the guide's numbers with so many reports."""
    leaky = variant == "leaky"
    samples = tuple(
        sample(2.0 * n, 100 * n, 8 + 100 * n * leaky, 0 if leaky else 100 * n)
        for n in range(reports + 1)
    )
    verdict = judge(samples, OPEN_FDS)
    views = VIEWS if leaky else ()
    return Run(
        LAB.name,
        Variant(variant),
        PID,
        50,
        limit,
        server_port=6060,
        samples=samples,
        verdict=verdict,
        evidence=EVIDENCE if leaky else (),
        views=views,
    )


def events(of: Run, interrupted: bool = False) -> list[Event]:
    """Return what a sink is told of a run: each verdict at the report that settles it."""
    told: list[Event] = []
    before = None
    reports = len(of.samples) - (interrupted or of.exhaustion is not None)
    for number in range(1, reports):
        verdict = judge(of.samples[: number + 1], OPEN_FDS)
        news = verdict.leaking is not None and before != verdict.leaking
        told.append(Sampled(of.samples[number], verdict if news else None))
        if news and verdict.leaking:
            told.append(Traced(of.evidence))
        before = verdict.leaking if news else before
    started = Started(
        Run(of.lab, of.variant, of.pid, of.rate_hz, of.fd_limit, 6060, {}, of.samples[:1]),
        ("descriptor limit raised from 256 to 540 for this run (ulimit -n)",),
    )
    failures = [*of.failures]
    end = [of.exhaustion, Traced(of.evidence)] if of.exhaustion else []
    return [started, *failures, *told, *end, Ended(of, interrupted)]


FAILURES = (
    Failure("ValueError", "no such door", 0.5, 25, 3),
    Failure("TimeoutError", "", 1.25, 61, 1),
)
EXHAUSTION = Exhaustion(
    sample(4.96, 248, 256),
    "[Errno 24] Too many open files: 'door_248'",
    {"/tmp/doors": 248, "socket": 3, "pipe": 2, "anon_inode": 1, "/dev": 1},
)
