"""Time limits for what may hang: they run only while it could, a busy machine is no fault.

A program that hangs and one that is given no processor look alike by the clock. Where the system
does not tell them apart, limits run by the clock alone.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .probes.threads import starved_s

if TYPE_CHECKING:
    import asyncio

TICK_S = 0.05
"""So often one looks at a limit; a machine that stood still in between costs no more than two."""
_POLL_S = 0.002


class Patience:
    """`limit_s` seconds in which this thread could run; look at it each `TICK_S`."""

    def __init__(
        self,
        limit_s: float,
        now_s: Callable[[], float] = time.monotonic,
        starved_s: Callable[[], float] = starved_s,
    ) -> None:
        self._left_s = limit_s
        self._charged_s = 0.0
        self._now_s = now_s
        self._starved_s = starved_s
        self._seen_s = now_s()
        self._starved_before_s = starved_s()

    def lasts(self) -> bool:
        """Look at the time; tell whether there is any left.

        Only when it seems used up is the system asked how much of it this thread had to wait.
        """
        now_s = self._now_s()
        self._charge(min(now_s - self._seen_s, 2 * TICK_S))
        self._seen_s = now_s
        if self._left_s <= 0:
            self._give_back()
        return self._left_s > 0

    def _charge(self, passed_s: float) -> None:
        self._left_s -= passed_s
        self._charged_s += passed_s

    def _give_back(self) -> None:
        starved_s = self._starved_s()
        waited_s = max(0.0, starved_s - self._starved_before_s)
        self._left_s += min(waited_s, self._charged_s)
        self._starved_before_s, self._charged_s = starved_s, 0.0

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until `condition` holds; return whether it did in time."""
        while not condition() and self.lasts():
            time.sleep(_POLL_S)
        return condition()

    async def until_async(self, condition: Callable[[], bool]) -> bool:
        """Do the same in an event loop."""
        import asyncio

        while not condition() and self.lasts():  # noqa: ASYNC110 - nobody says when it does
            await asyncio.sleep(_POLL_S)
        return condition()

    @asynccontextmanager
    async def timeout(self) -> "AsyncIterator[asyncio.Timeout]":
        """Limit the body of the `async with` as `asyncio.timeout` does."""
        import asyncio

        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:

            def look() -> None:
                if self.lasts():
                    due.append(loop.call_later(TICK_S, look))
                else:
                    limit.reschedule(loop.time())

            due = deque([loop.call_later(TICK_S, look)], maxlen=1)
            try:
                yield limit
            finally:
                due[0].cancel()
