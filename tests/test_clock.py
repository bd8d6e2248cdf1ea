"""Clocks wait for moments, so that lateness never adds up."""

import asyncio
import math
import os
import time

import pytest

from harness.clock import ManualClock, SystemClock


class Gone(Exception):
    """The parent is gone."""


def gone():
    """Tell so."""
    raise Gone


def test_a_manual_clock_is_there_at_once():
    """Waiting turns it; a moment that has passed does not turn it back."""
    clock = ManualClock(5)
    clock.wait_until(1e9)
    assert clock.now_s() == 1e9
    clock.wait_until(3)
    assert clock.now_s() == 1e9


def test_a_manual_clock_gives_tasks_a_turn():
    """What is ready in the loop runs before the clock moves."""
    seen = []

    async def main():
        clock = ManualClock()
        asyncio.get_running_loop().call_soon(lambda: seen.append(clock.now_s()))
        await clock.wait_until_async(7)
        return clock.now_s()

    assert asyncio.run(main()) == 7
    assert seen == [0]


def test_the_system_clock_is_monotonic_and_never_early():
    """It returns at the deadline or after it; at once when that has passed."""
    clock = SystemClock()
    due_s = clock.now_s() + 0.02
    clock.wait_until(due_s)
    assert clock.now_s() >= due_s
    assert abs(clock.now_s() - time.monotonic()) < 1
    clock.wait_until(due_s - 1000)
    asyncio.run(clock.wait_until_async(due_s - 1000))


def test_an_event_loop_waits_for_the_deadline_too():
    """Never early there either."""
    clock = SystemClock()
    due_s = clock.now_s() + 0.02
    asyncio.run(clock.wait_until_async(due_s))
    assert clock.now_s() >= due_s


def test_a_lost_parent_ends_the_wait():
    """The lifeline's other end is closed as its holder dies: also in a wait without end."""
    ours, parents = os.pipe()
    clock = SystemClock(ours, gone)
    clock.wait_until(clock.now_s() + 0.01)
    os.close(parents)
    with pytest.raises(Gone):
        clock.wait_until(math.inf)
    os.close(ours)
