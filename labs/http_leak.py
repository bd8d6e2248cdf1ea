"""Example 2: a gateway leaks a connection per failed request. `python -m labs.http_leak`."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import http_leak as fixed
from harness import connections, table
from harness.cli import main
from harness.gauges import TASKS
from harness.model import Exercise, Gauge, Lab, Option, Row, Run, Setting, View, Workload
from harness.patience import Patience
from harness.ports import listen
from leaky import http_leak as leaky

from .clients import CLOSE_WAIT, OPEN, REQUESTS, UPSTREAM_PORT, held, hung_up

MADE = Gauge("app_http_connections_total", "Connections made", "Connections made")

READING = (
    "Each task in RequestHandler.start waits for a request on one open connection.\n"
    "Many of them are many connections that their client neither uses nor gives back."
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

    async with running(upstream, listener):
        await _warm_up(subject.Gateway(base, pool))
        await upstream.forget()
        gateway = subject.Gateway(base, pool)
        try:
            yield Workload(
                fetch,
                {
                    REQUESTS: lambda: made,
                    OPEN: lambda: held(port),
                    CLOSE_WAIT: lambda: hung_up(port),
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
    """Return how many requests one connection carried, short enough for 80 columns."""
    ratio = _per_connection(run)
    return "n/a" if ratio is None else f"{ratio:.{1 if ratio < 10 else 0}f} requests"


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


PATIENCE_S = 0.3
"""An operation on an empty pool would wait for seconds."""


async def _asked(subject: ModuleType, fails: Sequence[bool], pool: int) -> tuple[list[object], int]:
    """Request once per item of `fails`, from an upstream that fails where it says so.

    Returns what came of each, a body or an error, and how many connections it took.
    """

    from .upstream import Upstream, running

    listener = listen(0, UPSTREAM_PORT.flag)
    upstream = Upstream(lambda number: fails[number - 1], None)
    gateway = subject.Gateway(f"http://127.0.0.1:{listener.getsockname()[1]}", pool)
    got: list[object] = []
    async with running(upstream, listener):
        for number in range(len(fails)):
            try:
                async with Patience(PATIENCE_S).timeout():
                    got.append(await gateway.fetch(f"/{number}"))
            except Exception as error:  # noqa: BLE001 - whatever the copy raises is looked at
                got.append(error)
        await gateway.close()
    return got, upstream.connections


def bodies_and_failures_arrive(subject: ModuleType, _directory: Path) -> str | None:
    """A body is returned whole, and an upstream's error status raises UpstreamError."""
    import asyncio

    (body, failure), _ = asyncio.run(_asked(subject, (False, True), 5))
    if body != b'{"path": "/0"}':
        return f"fetch gave {body!r}; read the body whole before the response is closed"
    if not isinstance(failure, subject.UpstreamError) or failure.status != 503:
        return f"fetch gave {failure!r} for an answer of 503; callers need UpstreamError(503)"
    return None


def failures_leave_the_pool_usable(subject: ModuleType, _directory: Path) -> str | None:
    """After more failures than the pool has connections, the next request is answered."""
    import asyncio

    got, _ = asyncio.run(_asked(subject, (True, True, True, False), 2))
    if isinstance(got[-1], bytes):
        return None
    return (
        f"after 3 failures a pool of 2 had no connection left ({type(got[-1]).__name__}); "
        "close the response of a failed request too"
    )


def connections_are_shared(subject: ModuleType, _directory: Path) -> str | None:
    """Requests one after the other go over one connection, also after a failure."""
    import asyncio

    _, connections = asyncio.run(_asked(subject, (False, True, False, True, False), 5))
    if connections == 1:
        return None
    return (
        f"5 requests one after the other took {connections} connections; keep one client, and read "
        "each body to its end, so that its connection can carry the next request"
    )


EXERCISE = Exercise(
    task=(
        "The gateway passes requests on to an upstream that fails now and then. Some time after "
        "each of its bad days the gateway stops answering as well, and stays so."
    ),
    behaviours=(bodies_and_failures_arrive, failures_leave_the_pool_usable, connections_are_shared),
    operations=8,
    imports=("labs.upstream", "httpcore", "anyio._backends._asyncio"),
)


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
    hints=(
        "Compare how many connections are open with how many requests failed: "
        "`python -m labs.http_leak --leaky`. Which path through fetch do the failed ones take?",
        "The pool inside httpx's client owns each connection, and counts it as in use until the "
        "body has been read to its end or the response was closed. Dropping the response, as the "
        "raise does, tells the pool nothing.",
        "Open the response with `async with self._client.stream(...)`, which closes it on every "
        "path, and read the body first, so that the connection can be used again.",
    ),
    exercise=EXERCISE,
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.http_leak"))
