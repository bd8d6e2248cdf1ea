"""Lab 17: a watchlist's tasks never end, and each has a socket. `python -m labs.task_socket`."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import task_socket as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS, TASKS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.patience import Patience
from harness.ports import listen
from harness.probes import fds
from leaky import task_socket as leaky

from .words import are

LOOKS = Gauge("app_symbols_removed_total", "Symbols removed", "Symbols removed")
CONNECTIONS = Gauge("app_feed_connections_open", "Connections", "Feed connections")
SILENT = "SILENT"
PATIENCE_S = 0.3


class Feed(asyncio.Protocol):
    """The feed's end of one connection: it answers a symbol with a price, and pushes more.

    `SILENT` has no price yet.
    """

    def __init__(self, followers: "dict[str, Feed]") -> None:
        self._followers = followers
        self._symbol = ""
        self.transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's signature
        """Keep the transport to write to."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer the symbol with its price, which is its length."""
        self._symbol = data.decode().strip()
        self._followers[self._symbol] = self
        if self._symbol != SILENT:
            self.transport.write(f"{len(self._symbol)}.00\n".encode())

    def connection_lost(self, _error: Exception | None) -> None:
        """Count the connection no longer."""
        if self._followers.get(self._symbol) is self:
            del self._followers[self._symbol]


@asynccontextmanager
async def feeding() -> AsyncIterator[tuple[str, int, dict[str, Feed]]]:
    """Serve a feed on loopback; yield its address and who follows what."""
    followers: dict[str, Feed] = {}
    loop = asyncio.get_running_loop()
    listener = listen(0, "the feed")
    server = await loop.create_server(lambda: Feed(followers), sock=listener)
    try:
        yield "127.0.0.1", listener.getsockname()[1], followers
    finally:
        server.close()
        for feed in list(followers.values()):
            feed.transport.abort()


@asynccontextmanager
async def workload(subject: ModuleType, _setting: Setting) -> AsyncIterator[Workload]:
    """Follow a symbol for as long as a look at its price takes, one per operation."""
    removed = 0
    async with feeding() as (host, port, followers):
        watchlist = subject.Watchlist(host, port)

        async def look(number: int) -> object:
            nonlocal removed
            price = await watchlist.add(f"SYM{number}")
            await watchlist.remove(f"SYM{number}")
            removed += 1
            return price, watchlist.prices()

        yield Workload(look, {LOOKS: lambda: removed, CONNECTIONS: lambda: len(followers)})


Story = Callable[[Any, dict[str, Feed]], Awaitable[str | None]]


def _told(subject: ModuleType, story: Story) -> str | None:
    """Let a watchlist live through a story; return what is wrong with it."""

    async def tell() -> str | None:
        async with feeding() as (host, port, followers):
            return await story(subject.Watchlist(host, port), followers)

    return asyncio.run(tell())


async def _until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds; return whether it did in time."""
    return await Patience(PATIENCE_S).until_async(condition)


def new_prices_arrive(subject: ModuleType, _directory: Path) -> str | None:
    """A symbol's price is the feed's latest, as long as it is followed."""

    async def story(watchlist: Any, followers: dict[str, Feed]) -> str | None:  # noqa: ANN401
        first = await watchlist.add("AB")
        if first != "2.00" or watchlist.prices() != {"AB": "2.00"}:
            return f"add('AB') gave {first!r} and prices() {watchlist.prices()} at a price of 2.00"
        gc.collect()
        if "AB" in followers:
            followers["AB"].transport.write(b"3.50\n")
        if await _until(lambda: watchlist.prices() == {"AB": "3.50"}):
            return None
        return f"the feed's price went to 3.50 and prices() is {watchlist.prices()}; go on reading"

    return _told(subject, story)


def the_others_are_still_followed(subject: ModuleType, _directory: Path) -> str | None:
    """Removing one symbol leaves the others alone."""

    async def story(watchlist: Any, followers: dict[str, Feed]) -> str | None:  # noqa: ANN401
        await watchlist.add("A")
        await watchlist.add("BB")
        await watchlist.remove("A")
        await asyncio.sleep(0.01)
        gc.collect()
        if "BB" in followers:
            followers["BB"].transport.write(b"7.00\n")
        if await _until(lambda: watchlist.prices() == {"BB": "7.00"}):
            return None
        return f"A removed, BB went to 7.00, prices() is {watchlist.prices()}; end only A's task"

    return _told(subject, story)


def what_was_removed_is_gone(subject: ModuleType, _directory: Path) -> str | None:
    """A removed symbol has no price and no connection, also when the feed writes once more."""

    async def story(watchlist: Any, followers: dict[str, Feed]) -> str | None:  # noqa: ANN401
        await watchlist.add("A")
        feed = followers["A"]
        await watchlist.remove("A")
        feed.transport.write(b"9.00\n")
        closed = await _until(lambda: not followers)
        if watchlist.prices():
            return (
                f"A was removed and prices() is {watchlist.prices()}; nobody may write it any more"
            )
        return None if closed else "A was removed and its connection is open; close it"

    return _told(subject, story)


def remove_waits_for_the_end(subject: ModuleType, _directory: Path) -> str | None:
    """When remove returns, the symbol's task has ended."""

    async def story(watchlist: Any, _followers: dict[str, Feed]) -> str | None:  # noqa: ANN401
        before = len(asyncio.all_tasks())
        await watchlist.add("A")
        await watchlist.remove("A")
        left = len(asyncio.all_tasks()) - before
        return f"{left} task is left when remove returns; await its end" if left else None

    return _told(subject, story)


def added_twice_is_followed_once(subject: ModuleType, _directory: Path) -> str | None:
    """A symbol that is added twice, also at once, is gone when it is removed."""

    async def story(watchlist: Any, _followers: dict[str, Feed]) -> str | None:  # noqa: ANN401
        before, open_ = len(asyncio.all_tasks()), fds.count() or 0
        await asyncio.gather(watchlist.add("A"), watchlist.add("A"))
        got = await watchlist.add("A")
        await watchlist.remove("A")
        left = len(asyncio.all_tasks()) - before
        if got != "1.00" or watchlist.prices():
            return f"A was added twice: add gave {got!r}, and after remove {watchlist.prices()}"
        if left > 0:
            return f"A was added twice, and removed: {are(left, 'task')} left; follow it once"
        if await _until(lambda: (fds.count() or 0) <= open_):
            return None
        return "A was added twice, and removed: a connection is open; close it"

    return _told(subject, story)


def what_is_given_up_is_closed(subject: ModuleType, _directory: Path) -> str | None:
    """When adding a symbol is given up, its connection is closed."""

    async def story(watchlist: Any, followers: dict[str, Feed]) -> str | None:  # noqa: ANN401
        adding = asyncio.ensure_future(watchlist.add(SILENT))
        await _until(lambda: SILENT in followers)
        adding.cancel()
        await asyncio.wait([adding])
        if await _until(lambda: not followers):
            return None
        return "adding a symbol was given up and its connection is open; close it on that path too"

    return _told(subject, story)


LAB = Lab(
    name="task_socket",
    title="Tasks that never end",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=TASKS,
    counters=(LOOKS, CONNECTIONS),
    judged=(TASKS, CONNECTIONS),
    warning="Task leak detected!",
    all_clear="Tasks stable",
    rate_hz=25,
    descriptors_per_operation=2,
    rows=(
        table.gauge_row(TASKS),
        table.gauge_row(CONNECTIONS),
        table.gauge_row(LOOKS),
        table.gauge_row(OPEN_FDS),
        table.MEMORY,
        table.RISK,
    ),
    commands=(
        "ss -tnp | grep pid={pid}",
        "curl 'http://localhost:{port}/debug/pprof/goroutine?debug=1' | head -20",
    ),
    hints=(
        "Look at the tasks: while --leaky runs, "
        "http://localhost:6060/debug/pprof/goroutine?debug=1 (with --mine: port 6062) groups them "
        "by the line in which they wait.",
        "Watchlist._following holds each task, and each task holds its connection until it ends.",
        "remove has to end the symbol's task: find it by its symbol, cancel it, and await its end.",
    ),
    exercise=Exercise(
        task=(
            "The watchlist follows the symbols that users look at, and forgets those that they "
            "close. The feed's operator complains: you hold thousands of connections."
        ),
        behaviours=(
            new_prices_arrive,
            the_others_are_still_followed,
            what_was_removed_is_gone,
            remove_waits_for_the_end,
            added_twice_is_followed_once,
            what_is_given_up_is_closed,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.task_socket"))
