"""Quotes from a price list: each request makes one, asks it for prices, and drops it.

A quote's file is closed as soon as nobody refers to the quote any more. What it has looked up is
kept in the quote itself, and goes with it; and the bus refers to its listeners weakly, and forgets
each one as its object goes.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from weakref import WeakMethod


class Bus:
    """Tells listeners the rate of the currency, in percent, whenever it changes."""

    def __init__(self) -> None:
        self._listeners: list[WeakMethod[Callable[[int], None]]] = []

    def subscribe(self, listener: Callable[[int], None]) -> None:
        """Call `listener`, the method of an object, at each change."""
        self._listeners.append(WeakMethod(listener, self._listeners.remove))

    def publish(self, rate: int) -> None:
        """Tell all listeners that the rate is `rate` percent now."""
        for listener in [reference() for reference in self._listeners]:
            if listener:
                listener(rate)


class Quote:
    """Prices from the list at `path`, a line `ITEM CENTS` for each item; the rate begins at 100."""

    def __init__(self, path: Path, bus: Bus) -> None:
        self._stack = ExitStack()
        self._file = self._stack.enter_context(path.open(encoding="utf-8"))
        self._rate = 100
        self._known: dict[str, int] = {}
        bus.subscribe(self._changed)

    def __del__(self) -> None:
        self._stack.close()

    def price(self, item: str) -> int:
        """Return the price of `item` at the rate of the moment; raise KeyError for no such item."""
        if item not in self._known:
            self._known[item] = self._cents(item)
        return self._known[item] * self._rate // 100

    def _cents(self, item: str) -> int:
        self._file.seek(0)
        return {name: int(cents) for name, cents in map(str.split, self._file)}[item]

    def _changed(self, rate: int) -> None:
        self._rate = rate
