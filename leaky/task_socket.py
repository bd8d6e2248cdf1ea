"""A watchlist that follows symbols on a price feed, each over a connection of its own.

The task that follows a symbol closes its connection when it ends. It never does: `_following` keeps
it, as a task needs somebody who does, it waits for the next price, and `remove` forgets the price
but not the task.
"""

import asyncio
from contextlib import closing


class Watchlist:
    """Knows the latest price of each symbol that was added; `host` and `port` are the feed's."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._prices: dict[str, str] = {}
        self._following: set[asyncio.Task[None]] = set()

    async def add(self, symbol: str) -> str:
        """Follow `symbol` from now on; return its first price."""
        reader, writer = await asyncio.open_connection(*self._address)
        writer.write(f"{symbol}\n".encode())
        self._prices[symbol] = (await reader.readline()).decode().strip()
        task = asyncio.create_task(self._follow(symbol, reader, writer))
        self._following.add(task)
        return self._prices[symbol]

    async def remove(self, symbol: str) -> None:
        """Follow `symbol` no longer."""
        del self._prices[symbol]

    def prices(self) -> dict[str, str]:
        """Return the latest price of each symbol that is followed."""
        return dict(self._prices)

    async def _follow(
        self, symbol: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with closing(writer):
            async for line in reader:
                self._prices[symbol] = line.decode().strip()
