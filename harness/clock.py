"""Time as an argument: the system's monotonic clock, and one that tests turn by hand."""

import asyncio
import select
import time
from collections.abc import Callable
from typing import Protocol

LONGEST_SLEEP_S = 3600.0
"""A wait without end is made of sleeps that every system call can take."""


class Clock(Protocol):
    """Tells the time in seconds and waits for a moment."""

    def now_s(self) -> float:
        """Return the time in seconds, from an arbitrary start."""

    def wait_until(self, due_s: float) -> None:
        """Block until `due_s`; return at once when it has passed."""

    async def wait_until_async(self, due_s: float) -> None:
        """Let the event loop run until `due_s`."""

    def starved_s(self) -> float:
        """Return for how many seconds this thread has waited for a processor."""


class SystemClock:
    """The monotonic clock.

    Waits are for deadlines, so lateness never adds up. With a `lifeline` (a readable descriptor
    whose other end a parent holds) `on_lost` is called as soon as that parent is gone. `starved`
    tells for how many seconds a thread has waited for a processor.
    """

    def __init__(
        self,
        lifeline: int | None = None,
        on_lost: Callable[[], None] = lambda: None,
        starved: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._starved = starved
        self.lifeline = lifeline
        self.on_lost = on_lost

    def now_s(self) -> float:
        """Return seconds of `time.monotonic`."""
        return time.monotonic()

    def wait_until(self, due_s: float) -> None:
        """Sleep to the deadline, or until the parent is gone."""
        while (left_s := min(due_s - self.now_s(), LONGEST_SLEEP_S)) > 0:
            if self.lifeline is None:
                time.sleep(left_s)
            elif select.select([self.lifeline], [], [], left_s)[0]:
                self.on_lost()

    async def wait_until_async(self, due_s: float) -> None:
        """Sleep to the deadline in the running event loop; give others a turn when late."""
        await asyncio.sleep(max(0.0, min(due_s - self.now_s(), LONGEST_SLEEP_S)))
        if due_s > self.now_s():
            await self.wait_until_async(due_s)

    def starved_s(self) -> float:
        """Ask `starved`."""
        return self._starved()


class ManualClock:
    """A clock that stands still until someone waits: then it is that moment at once."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self.starved = 0.0

    def now_s(self) -> float:
        """Return the moment that the clock was last turned to."""
        return self._now_s

    def wait_until(self, due_s: float) -> None:
        """Turn the clock to `due_s`; it never goes back."""
        self._now_s = max(self._now_s, due_s)

    async def wait_until_async(self, due_s: float) -> None:
        """Turn the clock, after a turn for every task that is ready."""
        await asyncio.sleep(0)
        self.wait_until(due_s)

    def starved_s(self) -> float:
        """Return what `starved` was set to."""
        return self.starved
