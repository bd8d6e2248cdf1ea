"""Lab 13: a monitor's threads wait for devices that went silent. `python -m labs.stuck_read`."""

import asyncio
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import stuck_read as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS, THREADS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.ports import listen
from leaky import stuck_read as leaky

from .clients import held
from .started import Started
from .words import are

ROUNDS = Gauge("app_rounds_total", "Rounds", "Rounds of readings")
CONNECTIONS = Gauge("app_device_connections_open", "Connections", "Connections to silent devices")
SHORT_S, LONG_S = 0.004, 2.0
"""Patience with a device that never answers, and with one that does.

A machine that is busy may let the answer wait for half a second.
"""
TRICKLE_S = 0.1
"""Patience with a device that sends a byte now and then."""
TRICKLES = 5
"""So often such a device is read where the machine stood still, and it paused for too long."""
BACKLOG = 4
"""So many connections are more than a backlog of 0 takes."""
ENDING_S = 0.2
"""So long may a thread take to end."""

Act = Callable[[asyncio.Transport], None]
"""What a device does when it is asked."""


class Device(asyncio.Protocol):
    """A device's end of one connection; it hangs up when the other end does."""

    def __init__(self, act: Act, connected: set[asyncio.Transport]) -> None:
        self._act = act
        self._connected = connected
        self._transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's signature
        """Note who is connected."""
        self._transport = transport
        self._connected.add(transport)

    def data_received(self, _request: bytes) -> None:
        """Act, whatever was asked."""
        self._act(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection."""
        self._connected.discard(self._transport)


@contextmanager
def devices(*acts: Act) -> Iterator[list[tuple[str, int]]]:
    """Serve devices on loopback from a thread of their own; yield their addresses."""
    loop, connected = asyncio.new_event_loop(), set[asyncio.Transport]()
    listeners = [listen(0, "a device") for _ in acts]

    async def serve() -> None:
        for act, listener in zip(acts, listeners, strict=True):
            await loop.create_server(partial(Device, act, connected), sock=listener)

    async def hang_up() -> None:
        for transport in list(connected):
            transport.abort()
        await asyncio.sleep(0)

    # Out of descriptors, a device cannot accept: it is one silent device more.
    loop.set_exception_handler(lambda _loop, _problem: None)
    loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever, name="devices", daemon=True)
    thread.start()
    try:
        yield [listener.getsockname() for listener in listeners]
    finally:
        asyncio.run_coroutine_threadsafe(hang_up(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for listener in listeners:
            listener.close()
        loop.close()


def answers(*parts: bytes, after_s: float = 0) -> Act:
    """Return a device that sends a reading in `parts`, each `after_s` after the one before."""

    def act(transport: asyncio.Transport) -> None:
        send(transport, list(parts))

    def send(transport: asyncio.Transport, left: list[bytes]) -> None:
        if not left:
            transport.close()
            return
        asyncio.get_running_loop().call_later(after_s, transport.write, left[0])
        asyncio.get_running_loop().call_later(after_s, send, transport, left[1:])

    return act


def trickles(pauses_s: list[float]) -> Act:
    """Return a device that sends a byte every 0.01 s, and notes how long it has paused."""

    def act(transport: asyncio.Transport) -> None:
        send(transport, asyncio.get_running_loop().time())

    def send(transport: asyncio.Transport, before_s: float) -> None:
        loop = asyncio.get_running_loop()
        pauses_s.append(loop.time() - before_s)
        if not transport.is_closing():
            transport.write(b".")
            loop.call_later(0.01, send, transport, loop.time())

    return act


def is_silent(_transport: asyncio.Transport) -> None:
    """Neither answer nor hang up."""


@contextmanager
def workload(subject: ModuleType, _setting: Setting) -> Iterator[Workload]:
    """Read a device that answers and one that is silent per operation."""
    rounds = 0
    quick, patient = subject.Monitor(SHORT_S), subject.Monitor(LONG_S)
    with left_behind_ends(), devices(answers(b"21.5"), is_silent) as (well, silent):

        def read(_number: int) -> object:
            nonlocal rounds
            readings = patient.read([well]) + quick.read([silent])
            rounds += 1
            return readings

        yield Workload(read, {ROUNDS: lambda: rounds, CONNECTIONS: lambda: held(silent[1])})


@contextmanager
def left_behind_ends() -> Iterator[None]:
    """Wait at the end for threads that the body left and that are about to end."""
    started = Started()
    try:
        yield
    finally:
        started.end(ENDING_S)


def readings_come_in_order(subject: ModuleType, _directory: Path) -> str | None:
    """Each reading is returned whole, however long, in the devices' order."""
    with devices(answers(b"1"), answers(b"2" * 100, b"2" * 100, after_s=0.01)) as (one, two):
        got = subject.Monitor(LONG_S).read([two, one, two])
    if got == ["2" * 200, "1", "2" * 200]:
        return None
    return f"read gave {got} for devices that send 200 times 2, 1, and again 200 times 2"


def slow_devices_are_waited_for(subject: ModuleType, _directory: Path) -> str | None:
    """A device may take as long as the monitor's patience."""
    steps = answers(*[b""] * 14, b"7", after_s=0.01)  # a standstill in between delays only one
    with devices(steps) as slow:
        got = subject.Monitor(LONG_S).read(slow)
    return None if got == ["7"] else f"read gave {got} for a device that takes 0.15 s of {LONG_S} s"


def devices_are_asked_at_the_same_time(subject: ModuleType, _directory: Path) -> str | None:
    """No device has to wait for another one."""
    asked: list[asyncio.Transport] = []

    def answers_with_the_other(transport: asyncio.Transport) -> None:
        asked.append(transport)
        for each in asked * (len(asked) == 2):
            each.write(b"3")
            each.close()

    with devices(answers_with_the_other, answers_with_the_other) as both:
        got = subject.Monitor(LONG_S / 4).read(both)
    if got == ["3", "3"]:
        return None
    return f"read gave {got} for two devices that answer when both are asked; ask all at once"


def nothing_waits_for_silence(subject: ModuleType, _directory: Path) -> str | None:
    """When the time is over nobody waits for a silent device any more, and nothing is open."""
    with devices(is_silent) as silent:
        started = Started()
        got = subject.Monitor(0.02).read(silent * 3)
        started.end(ENDING_S)
        threads, open_ = started.count(), held(silent[0][1])
    if got != [None] * 3:
        return f"read gave {got} for 3 silent devices, not [None, None, None]"
    if not threads and not open_:
        return None
    return (
        f"{threads} threads and {open_} connections wait for 3 devices that were given up; the "
        "time limit belongs where the waiting is"
    )


def a_trickle_is_no_answer(subject: ModuleType, _directory: Path) -> str | None:
    """A device that sends a byte now and then is given up in time, too."""
    for _ in range(TRICKLES):
        pauses_s: list[float] = []
        with devices(trickles(pauses_s)) as trickling:
            started = Started()
            got = subject.Monitor(TRICKLE_S).read(trickling)
            threads = 0 if started.end(ENDING_S) else started.count()
        if got != [None] or threads:
            return (
                f"read gave {got} for a device that sends a byte every 0.01 s, and "
                f"{are(threads, 'thread')} still reading; a time limit of recv "
                "begins anew with each byte: set a deadline"
            )
        if pauses_s and max(pauses_s) < TRICKLE_S / 2:
            break  # else it was silence that was given up, and that says nothing
    return None


@contextmanager
def takes_no_connection() -> Iterator[tuple[str, int] | None]:
    """Yield the address of a device that is too busy to connect, None where none can be made so.

    Its backlog is full and it accepts nothing: the system lets whoever connects wait.
    """
    with ExitStack() as opened:
        device = opened.enter_context(socket.socket())
        device.bind(("127.0.0.1", 0))
        device.listen(0)
        waiting = [opened.enter_context(socket.socket()) for _ in range(BACKLOG)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(device.getsockname())
        connected = select.select([], waiting, [], 0)[1]  # on loopback at once, or not at all
        yield device.getsockname() if len(connected) < len(waiting) else None


def connecting_has_its_limit(subject: ModuleType, _directory: Path) -> str | None:
    """A device that is too busy to connect is given up in time, too."""
    with takes_no_connection() as busy:
        started = Started()
        if busy:
            ask = partial(_asked, subject.Monitor(0.02), busy)
            threading.Thread(target=ask, daemon=True).start()
        if started.end(ENDING_S):
            return None
    return (
        "a device that is too busy to connect is still waited for when its time is over; give "
        "create_connection the time limit, too"
    )


def _asked(monitor: Any, device: tuple[str, int]) -> None:  # noqa: ANN401 - of any copy
    with suppress(OSError):
        monitor.read([device])


def the_unreachable_is_an_error(subject: ModuleType, _directory: Path) -> str | None:
    """A device that cannot be asked raises OSError."""
    with socket.socket() as nobody:  # it has the port, so that no one else gets it, and listens not
        nobody.bind(("127.0.0.1", 0))
        try:
            got = subject.Monitor(LONG_S).read([nobody.getsockname()])
        except OSError:
            return None
    return f"read gave {got} for an address where nobody listens; let the error out"


LAB = Lab(
    name="stuck_read",
    title="Threads stuck in recv",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=THREADS,
    counters=(CONNECTIONS, ROUNDS),
    judged=(THREADS, CONNECTIONS),
    warning="Thread and connection leak detected!",
    all_clear="Threads and connections stable",
    rate_hz=20,
    descriptors_per_operation=2,
    rows=(
        table.gauge_row(THREADS),
        table.gauge_row(CONNECTIONS),
        table.gauge_row(ROUNDS),
        table.gauge_row(OPEN_FDS),
        table.MEMORY,
        table.RISK,
    ),
    commands=(
        "ss -tnp state established | grep pid={pid}",
        "curl 'http://localhost:{port}/debug/pprof/goroutine?debug=2' | grep -A2 'IO wait'",
    ),
    hints=(
        "Threads grow, one for each reading that came to nothing. While --leaky runs, "
        "http://localhost:6060/debug/pprof/goroutine?debug=2 (with --mine: port 6062) shows the "
        "line in which they are stuck, and each one's connection.",
        "_ask waits in connection.recv, which has no time limit: read gave the device up, and its "
        "thread does not know that. Its stack holds the connection.",
        "Give create_connection a timeout, and each recv what is left until the deadline "
        "(connection.settimeout): a limit for each recv alone begins anew with every byte.",
    ),
    exercise=Exercise(
        task=(
            "The monitor gives a device up that does not answer in time, and all readings are "
            "right. Where devices often go silent, it ends after some days: Too many open files."
        ),
        behaviours=(
            readings_come_in_order,
            slow_devices_are_waited_for,
            devices_are_asked_at_the_same_time,
            nothing_waits_for_silence,
            a_trickle_is_no_answer,
            connecting_has_its_limit,
            the_unreachable_is_an_error,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.stuck_read"))
