"""Lab 14: a status checker keeps the responses of failures. `python -m labs.aiohttp_leak`."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import aiohttp_leak as fixed
from harness import connections, table
from harness.cli import main
from harness.gauges import OPEN_FDS, TASKS
from harness.model import Exercise, Lab, Run, Setting, View, Workload
from harness.ports import listen
from leaky import aiohttp_leak as leaky

from .clients import CLOSE_WAIT, OPEN, REQUESTS, UPSTREAM_PORT, held, hung_up
from .words import are

ERROR_PAGE = "Traceback: " + "x" * 2**19
"""More than the buffers between upstream and client take: it is not over before it is read."""


@asynccontextmanager
async def serving(port: int, fails: Callable[[int], bool]) -> AsyncIterator[int]:
    """Serve an upstream with long error pages; yield its port."""
    from .upstream import Upstream, running

    listener = listen(port, UPSTREAM_PORT.flag)
    async with running(Upstream(fails, None, ERROR_PAGE), listener):
        yield listener.getsockname()[1]


@asynccontextmanager
async def workload(subject: ModuleType, setting: Setting) -> AsyncIterator[Workload]:
    """Check one service per operation."""
    from .upstream import outage

    made = 0
    async with serving(int(setting.options[UPSTREAM_PORT.key] or 0), outage) as port:
        checker = subject.StatusChecker(f"http://127.0.0.1:{port}")

        async def check(number: int) -> object:
            nonlocal made
            made += 1
            return await checker.check(f"service/{number}")

        readings = {
            REQUESTS: lambda: made,
            OPEN: lambda: held(port),
            CLOSE_WAIT: lambda: hung_up(port),
        }
        try:
            yield Workload(check, readings, {UPSTREAM_PORT.key: port})
        finally:
            await checker.close()


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof, ss and netstat show of the connections."""
    port = int(setting.options[UPSTREAM_PORT.key] or 0)
    return connections.views(run, setting.directory, port)


Story = Callable[[Any, int], Awaitable[str | None]]


def _told(subject: ModuleType, fails: Sequence[bool], story: Story) -> str | None:
    """Let a checker live through a story, with an upstream that fails where `fails` says so."""

    async def tell() -> str | None:
        async with serving(0, lambda number: fails[number - 1]) as port:
            checker = subject.StatusChecker(f"http://127.0.0.1:{port}")
            try:
                return await story(checker, port)
            finally:
                await checker.close()

    return asyncio.run(tell())


def answers_are_told_apart(subject: ModuleType, _directory: Path) -> str | None:
    """check is true for a service that answers with success, and false for one that fails."""

    async def story(checker: Any, _port: int) -> str | None:  # noqa: ANN401 - of any copy
        got = [await checker.check("a"), await checker.check("b")]
        return None if got == [True, False] else f"check gave {got} for a success and a failure"

    return _told(subject, (False, True), story)


def the_report_quotes_each_failure(subject: ModuleType, _directory: Path) -> str | None:
    """The report has path and text of each failure, in order, and once."""

    async def story(checker: Any, _port: int) -> str | None:  # noqa: ANN401 - of any copy
        for service in "abc":
            await checker.check(service)
        wanted = [f"/{service}: {ERROR_PAGE}" for service in "ac"]
        if (lines := await checker.report()) != wanted:
            shown = [str(line)[:20] for line in lines]
            return f"the report on failures of /a and /c is {shown}; it needs their whole text"
        again = await checker.report()
        return f"a second report repeats {len(again)} lines of the first" if again else None

    return _told(subject, (True, False, True), story)


def failures_hold_no_connection(subject: ModuleType, _directory: Path) -> str | None:
    """Failed checks share one connection, before anybody asks for the report."""

    async def story(checker: Any, port: int) -> str | None:  # noqa: ANN401 - of any copy
        for service in "abc":
            await checker.check(service)
        if (still := held(port)) <= 1:
            return None
        return (
            f"{are(still, 'connection')} open after 3 failed checks; read what the report needs, "
            "and the next check can use the connection"
        )

    return _told(subject, (True, True, True), story)


def silence_is_an_error(subject: ModuleType, _directory: Path) -> str | None:
    """A service that does not answer at all raises ClientError."""
    import aiohttp

    async def ask(port: int) -> object:
        checker = subject.StatusChecker(f"http://127.0.0.1:{port}")
        try:
            return await checker.check("a")
        except aiohttp.ClientError as error:
            return error
        finally:
            await checker.close()

    with socket.socket() as nobody:  # it has the port, so that no one else gets it, and listens not
        nobody.bind(("127.0.0.1", 0))
        got = asyncio.run(ask(nobody.getsockname()[1]))
    if isinstance(got, aiohttp.ClientError):
        return None
    return f"check gave {got!r} where nobody listens; callers need the ClientError"


LAB = Lab(
    name="aiohttp_leak",
    title="Responses kept for a report",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN,
    counters=(REQUESTS,),
    gauges=(CLOSE_WAIT,),
    judged=(OPEN, TASKS),
    warning="Connection leak detected!",
    all_clear="Connections given back",
    rate_hz=25,
    descriptors_per_operation=2,
    rows=(
        table.gauge_row(OPEN),
        table.gauge_row(TASKS),
        table.gauge_row(REQUESTS),
        table.gauge_row(OPEN_FDS),
        table.MEMORY,
        table.RISK,
        table.view_row("Lsof Client Ends", "lsof_clients"),
    ),
    views=views,
    commands=(
        "ss -tan 'dport = :{upstream_port}'",
        "curl 'http://localhost:{port}/debug/pprof/goroutine?debug=1'",
    ),
    options=(UPSTREAM_PORT,),
    hints=(
        "Compare the open connections with the failed checks. What does a failed check leave "
        "behind that a successful one does not?",
        "StatusChecker._failed holds each failed response until the next report, and a response "
        "that was not read holds its connection.",
        "The report needs text, not responses: read the text at once, inside `async with "
        "session.get(...) as response`, and keep that.",
    ),
    exercise=Exercise(
        task=(
            "The checker asks services how they are, and once a day somebody reads the report on "
            "those that failed. On bad days it runs out of descriptors long before."
        ),
        behaviours=(
            answers_are_told_apart,
            the_report_quotes_each_failure,
            failures_hold_no_connection,
            silence_is_an_error,
        ),
        operations=8,
        imports=("labs.upstream",),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.aiohttp_leak"))
