"""A watchlist that follows symbols on a price feed, each over a connection of its own.

Each task is kept by its symbol. `remove` cancels it and waits until it has ended, and with it its
`with` block, which closes the connection.
"""

import asyncio
from contextlib import closing


class Watchlist:
    """Knows the latest price of each symbol that was added; `host` and `port` are the feed's."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._prices: dict[str, str] = {}
        self._following: dict[str, asyncio.Task[None]] = {}

    async def add(self, symbol: str) -> str:
        """Follow `symbol` from now on; return its first price."""
        reader, writer = await asyncio.open_connection(*self._address)
        writer.write(f"{symbol}\n".encode())
        self._prices[symbol] = (await reader.readline()).decode().strip()
        task = asyncio.create_task(self._follow(symbol, reader, writer))
        self._following[symbol] = task
        return self._prices[symbol]

    async def remove(self, symbol: str) -> None:
        """Follow `symbol` no longer."""
        task = self._following.pop(symbol)
        task.cancel()
        await asyncio.wait([task])
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
