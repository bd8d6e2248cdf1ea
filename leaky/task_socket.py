"""A watchlist that follows symbols on a price feed, each over a connection of its own.

The connection of a symbol is closed when its task ends. It never does: `_following` keeps it, as a
task needs somebody who does, it waits for the next price, and `remove` forgets the price but not
the task.
"""

import asyncio
from contextlib import ExitStack


class Watchlist:
    """Knows the latest price of each symbol that was added; `host` and `port` are the feed's."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._prices: dict[str, str] = {}
        self._following: set[asyncio.Task[None]] = set()

    async def add(self, symbol: str) -> str:
        """Follow `symbol` from now on, once, however often it is added; return its price."""
        reader, writer = await asyncio.open_connection(*self._address)
        with ExitStack() as unless_followed:
            unless_followed.callback(writer.close)
            writer.write(f"{symbol}\n".encode())
            price = (await reader.readline()).decode().strip()
            if symbol not in self._prices:
                task = asyncio.create_task(self._follow(symbol, reader))
                task.add_done_callback(lambda _: writer.close())
                self._following.add(task)
                unless_followed.pop_all()
            self._prices[symbol] = price
        return price

    async def remove(self, symbol: str) -> None:
        """Follow `symbol` no longer."""
        del self._prices[symbol]

    def prices(self) -> dict[str, str]:
        """Return the latest price of each symbol that is followed."""
        return dict(self._prices)

    async def _follow(self, symbol: str, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            self._prices[symbol] = line.decode().strip()
