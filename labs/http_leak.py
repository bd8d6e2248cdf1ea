"""Example 2: a gateway leaks a connection per failed request. `python -m labs.http_leak`."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

from fixed import http_leak as fixed
from harness import connections, table
from harness.cli import main
from harness.gauges import TASKS
from harness.model import Gauge, Lab, Option, Row, Run, Setting, View, Workload
from harness.ports import listen
from harness.probes import sockets
from leaky import http_leak as leaky

REQUESTS = Gauge("app_requests_total", "Requests made", "Requests made")
OPEN = Gauge("app_http_connections_open", "Open connections", "Open connections")
CLOSE_WAIT = Gauge("app_http_connections_close_wait", "CLOSE_WAIT", "In CLOSE_WAIT")
MADE = Gauge("app_http_connections_total", "Connections made", "Connections made")

READING = (
    "Each task in RequestHandler.start waits for the next request on one open connection.\n"
    "Many of them are many connections that their client neither uses nor gives back."
)

UPSTREAM_PORT = Option(
    "--upstream-port",
    "port of the mock upstream; 0: any free one (8080 leaky, 8081 fixed)",
    "--leaky --upstream-port 9090",
    default=8080,
    is_port=True,
)
KEEPALIVE = Option(
    "--upstream-keepalive",
    "seconds after which the upstream hangs up an idle connection: leaked ones turn to CLOSE_WAIT",
    "--leaky --upstream-keepalive 3",
    minimum=0.1,
    is_whole=False,
)
POOL = Option(
    "--pool",
    "connections that the gateway's pool may hold",
    "--leaky --pool 20",
    default=100,
    minimum=1,
)


@asynccontextmanager
async def workload(subject: ModuleType, setting: Setting) -> AsyncIterator[Workload]:
    """Fetch one order per operation; an upstream's error status is an answer to pass on."""
    from .upstream import Upstream, outage, running

    options = setting.options
    listener = listen(int(options[UPSTREAM_PORT.key] or 0), UPSTREAM_PORT.flag)
    port = listener.getsockname()[1]
    upstream = Upstream(outage, options[KEEPALIVE.key])
    base, pool = f"http://127.0.0.1:{port}", int(options[POOL.key] or 1)
    made = 0

    async def fetch(number: int) -> object:
        nonlocal made
        made += 1
        try:
            return await gateway.fetch(f"/orders/{number}")
        except subject.UpstreamError as error:
            return error.status

    def held() -> int:
        states = sockets.clients_by_state(port)
        return sum(states.get(state, 0) for state in sockets.HELD)

    async with running(upstream, listener):
        await _warm_up(subject.Gateway(base, pool))
        await upstream.forget()
        gateway = subject.Gateway(base, pool)
        try:
            yield Workload(
                fetch,
                {
                    REQUESTS: lambda: made,
                    OPEN: held,
                    CLOSE_WAIT: lambda: sockets.clients_by_state(port).get("CLOSE_WAIT", 0),
                    MADE: lambda: upstream.connections,
                },
                {UPSTREAM_PORT.key: port},
            )
        finally:
            await gateway.close()


async def _warm_up(gateway: Any) -> None:  # noqa: ANN401 - of either twin
    """Let the first request's imports happen before the clock starts."""
    await gateway.fetch("/")
    await gateway.close()


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof, ss and netstat show of the connections, and what the tasks wait in."""
    port = int(setting.options[UPSTREAM_PORT.key] or 0)
    return [*connections.views(run, setting.directory, port), connections.waiting(READING)]


def _per_connection(run: Run) -> float | None:
    requests, made = table.last(run, REQUESTS), table.last(run, MADE)
    return requests / made if requests and made else None


def _reuse(run: Run) -> str:
    ratio = _per_connection(run)
    return "n/a" if ratio is None else f"{ratio:.1f} per connection"


def _reused(leaky_run: Run, fixed_run: Run) -> str:
    before, after = _per_connection(leaky_run), _per_connection(fixed_run)
    return "✅ Pooled" if before and after and after > before else "n/a"


def _pool_lasts(run: Run) -> str:
    """Return the request that found the pool empty, or the one that will at the measured growth."""
    timeout = next((each for each in run.failures if each.kind == "httpx.PoolTimeout"), None)
    if timeout:
        return f"{timeout.operation}, measured"
    grown, pool = table.growth(run, OPEN), run.options.get(POOL.key)
    if run.verdict is None or run.verdict.leaking is None:
        return "n/a"
    if not run.verdict.leaking or not grown or not pool:
        return "never"
    return f"{pool * run.samples[-1].operations / grown:.0f}, at this rate"


def _never(_leaky: Run, fixed_run: Run) -> str:
    return "✅ Never" if _pool_lasts(fixed_run) == "never" else "n/a"


LAB = Lab(
    name="http_leak",
    title="HTTP connection leak",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=TASKS,
    counters=(REQUESTS, CLOSE_WAIT),
    gauges=(OPEN, MADE),
    judged=(TASKS, OPEN),
    warning="Connection leak detected!",
    all_clear="Connections properly reused",
    rate_hz=25,
    descriptors_per_operation=2,
    rows=(
        table.gauge_row(TASKS),
        table.gauge_row(OPEN),
        table.gauge_row(REQUESTS),
        table.MEMORY,
        Row("Connection Reuse", _reuse, _reused),
        Row("Pool Empty at Request", _pool_lasts, _never),
        table.gauge_row(CLOSE_WAIT),
        table.RISK,
        table.view_row("Lsof Client Ends", "lsof_clients"),
        table.limit_row(table.COMMON_LIMIT),
    ),
    views=views,
    commands=(
        "lsof -nP -a -p {pid} -iTCP:{upstream_port} -sTCP:ESTABLISHED",
        "ss -tan 'dport = :{upstream_port}'",
        "curl 'http://localhost:{port}/debug/pprof/goroutine?debug=1'",
    ),
    options=(UPSTREAM_PORT, KEEPALIVE, POOL),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.http_leak"))
