"""What the debug server tells Prometheus at `/metrics`: the run's latest figures, and the process.

The figures are those of the last report, as the console printed them. So they are also there when
no descriptor is left to measure through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from harness.model import Gauge, Run
from harness.pprof.aside import aside
from harness.pprof.guard import answer
from harness.probes import fds

if TYPE_CHECKING:
    from weakref import WeakSet

    from aiohttp import web

    from harness.page.live import Live
    from harness.probes.tasks import AnyTask

PATH = "/metrics"
COUNTER = "_total"
FD_LIMIT = Gauge("process_max_fds", "Limit", "Soft limit on open file descriptors")


def add_route(app: web.Application, live: Live, observers: WeakSet[AnyTask]) -> None:
    """Add the page to `app`; note in `observers` the tasks that answer for it."""
    registry = registry_of(live)

    async def metrics(request: web.Request) -> web.Response:
        observers.update(task for task in (request.task, asyncio.current_task()) if task)
        text = await aside(partial(generate_latest, registry))
        return answer(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app.router.add_get(PATH, metrics)


def registry_of(live: Live, proc: str = "/proc") -> CollectorRegistry:
    """Return a registry with the run's figures and those of this process."""
    registry = CollectorRegistry()
    registry.register(RunCollector(live, proc))
    return registry


class RunCollector(Collector):
    """Collects both at each scrape, not while the run counts what is open.

    What the run measured takes the place of the process collector's figure of that name: that one
    counts the descriptor that it counts with, and those of the debug server's readers. The process
    collector leaves out what it cannot read when no descriptor is left.
    """

    def __init__(self, live: Live, proc: str = "/proc") -> None:
        self._live = live
        self._process = ProcessCollector(proc=proc, registry=None)

    def collect(self) -> Iterator[Metric]:
        """Yield each figure once."""
        run = self._live.latest()
        with fds.turn():
            found = {metric.name: metric for metric in self._process.collect()}
        found |= {metric.name: metric for metric in figures(run)} if run else {}
        yield from found.values()


def figures(run: Run) -> Iterator[Metric]:
    """Yield the figures of the run's last sample, and its limit; what is not known is left out."""
    for gauge, value in {**run.samples[-1].values, FD_LIMIT: run.fd_limit}.items():
        if value is not None:
            yield _metric(gauge, value)


def _metric(gauge: Gauge, value: float) -> Metric:
    kind = CounterMetricFamily if gauge.name.endswith(COUNTER) else GaugeMetricFamily
    return kind(gauge.name, gauge.help or f"{gauge.title}.", value)
