"""A time limit runs only while the thread that it limits could."""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from harness.patience import TICK_S, Patience
from harness.probes.threads import starved_s


@dataclass
class Machine:
    """A clock, and how long it gave this thread no processor."""

    now: float = 0.0
    starved: float = 0.0

    def patience(self, limit_s: float) -> Patience:
        """Return a limit by this machine's clock."""
        return Patience(limit_s, lambda: self.now, lambda: self.starved)

    def looks(self, patience: Patience, for_s: float, share: float) -> list[bool]:
        """Look at each tick for `for_s`, while this thread has `share` of a processor."""
        seen = []
        for _ in range(round(for_s / TICK_S)):
            self.now += TICK_S
            self.starved += TICK_S * (1 - share)
            seen.append(patience.lasts())
        return seen


def test_what_hangs_on_an_idle_machine_is_told_in_time():
    """All of the clock's time counts."""
    machine = Machine()
    assert machine.looks(machine.patience(1.02), 1.1, share=1).count(True) == 20


def test_a_starved_thread_gets_the_time_that_it_lacked():
    """A quarter of a processor: the limit is reached after four times as long."""
    machine = Machine()
    seen = machine.looks(machine.patience(1.0), 8, share=0.25)
    assert all(seen[:79])
    assert not all(seen[:81])
    assert seen == sorted(seen, reverse=True)


def test_a_machine_that_stood_still_costs_two_ticks():
    """However long nobody looked."""
    machine = Machine()
    patience = machine.patience(1.0)
    machine.now += 3600
    assert patience.lasts()
    assert machine.looks(patience, 1.0, share=1).count(True) == 17


def test_the_system_tells_how_long_a_thread_waited_for_a_processor():
    """Beside as many others as there are processors it waits; a made-up or missing file is 0."""
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (os.cpu_count() or 1))
    ]
    try:
        before_s, began_s = starved_s(), time.thread_time()
        while starved_s() - before_s <= 0.03:  # the others may take a while to begin
            assert time.thread_time() - began_s < 5
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("content", [None, b"", b"1", b"1 x 3"])
def test_a_system_that_does_not_tell_has_the_clock_alone(tmp_path, content):
    """No file, or another than expected."""
    file = tmp_path / "schedstat"
    if content is not None:
        file.write_bytes(content)
    assert starved_s(file) == 0.0


def test_waiting_ends_with_the_condition_or_the_patience():
    """In a thread and in an event loop; what is true at once costs no time."""
    assert Patience(5).until(lambda: True)
    assert not Patience(0.01).until(lambda: False)
    assert asyncio.run(Patience(5).until_async(lambda: True))
    assert not asyncio.run(Patience(0.01).until_async(lambda: False))


def test_a_timeout_ends_what_waits_for_ever_and_leaves_the_rest_alone():
    """As `asyncio.timeout`, which also tells whether it has expired."""

    async def hang():
        async with Patience(0.12).timeout() as limit:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                assert limit.expired() or limit.when() is not None

    async def end():
        async with Patience(0.12).timeout() as limit:
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        return limit.expired()

    with pytest.raises(TimeoutError):
        asyncio.run(hang())
    assert asyncio.run(end()) is False
