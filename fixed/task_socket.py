"""A watchlist that follows symbols on a price feed, each over a connection of its own.

Each task is kept by its symbol. `remove` cancels it and waits until it has ended; with it goes its
connection.
"""

import asyncio
from contextlib import ExitStack


class Watchlist:
    """Knows the latest price of each symbol that was added; `host` and `port` are the feed's."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._prices: dict[str, str] = {}
        self._following: dict[str, asyncio.Task[None]] = {}

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
                self._following[symbol] = task
                unless_followed.pop_all()
            self._prices[symbol] = price
        return price

    async def remove(self, symbol: str) -> None:
        """Follow `symbol` no longer."""
        del self._prices[symbol]
        task = self._following.pop(symbol)
        task.cancel()
        await asyncio.wait([task])

    def prices(self) -> dict[str, str]:
        """Return the latest price of each symbol that is followed."""
        return dict(self._prices)

    async def _follow(self, symbol: str, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            self._prices[symbol] = line.decode().strip()
