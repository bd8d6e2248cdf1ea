"""Where threads spend their time: every thread's stack, a hundred times a second."""

import sys
import threading
import time
from collections.abc import Iterator

from harness.pprof.frames import Frames
from harness.pprof.goroutines import OBSERVER
from harness.pprof.profile import Labels, Profile, Sample, Stack, ValueType
from harness.probes.calls import calls_of_threads

RATE_HZ = 100
_PERIOD_NS = 1_000_000_000 // RATE_HZ
_TYPES = (
    ValueType("samples", "count"),
    ValueType("wall", "nanoseconds"),
    ValueType("cpu", "nanoseconds"),
)
_PER_THREAD, _SCHEDULED = 4, 2
NO_CPU = "This system does not tell the processor time of other threads; the cpu column is empty."


class Sampler:
    """Adds up, for each stack, how often it was seen and the processor time since the last look."""

    def __init__(self) -> None:
        """Begin with the processor time that each thread has used so far."""
        self._frames = Frames()
        self._sums: dict[tuple[Stack, Labels], list[int]] = {}
        self._used_ns = dict(self._processor_times())

    def sample(self, elapsed_ns: int) -> None:
        """Look at every thread but the observer's own; `elapsed_ns` is the time since the last."""
        found, used_ns = calls_of_threads(), dict(self._processor_times())
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        own = threading.get_ident()
        for ident, calls in found.items():
            name = names.get(ident, f"Thread-{ident}")
            if ident != own and not name.startswith(OBSERVER):
                spent_ns = used_ns.get(ident, 0) - self._used_ns.get(ident, 0)
                stack = tuple(map(self._frames.frame, calls))
                key = stack, (("thread", name),)
                sums = self._sums.setdefault(key, [0, 0, 0])
                sums[:] = sums[0] + 1, sums[1] + elapsed_ns, sums[2] + max(0, spent_ns)
        self._used_ns = used_ns

    def profile(self, time_ns: int, duration_ns: int) -> Profile:
        """Return what was seen, begun at `time_ns` since 1970 and taken over `duration_ns`."""
        measured = any(sums[2] for sums in self._sums.values())
        return Profile(
            types=_TYPES,
            samples=tuple(
                Sample(stack, tuple(sums), labels) for (stack, labels), sums in self._sums.items()
            ),
            period_type=_TYPES[2] if measured else _TYPES[1],
            period=_PERIOD_NS,
            time_ns=time_ns,
            duration_ns=duration_ns,
            default_type="cpu" if measured else "wall",
            comments=() if measured else (NO_CPU,),
        )

    @staticmethod
    def _processor_times() -> Iterator[tuple[int, int]]:
        for thread in threading.enumerate():
            used_ns = processor_time_ns(thread.native_id)
            if thread.ident is not None and used_ns is not None:
                yield thread.ident, used_ns


def processor_time_ns(native_id: int | None) -> int | None:
    """Return the processor time of a thread, `None` where the system does not tell.

    `time.pthread_getcpuclockid` may crash on a thread that has just ended. On Linux the clock's
    number can be made from the thread's (`MAKE_THREAD_CPUCLOCK`, linux/posix-timers.h), and asking
    for one that has ended is a plain error.
    """
    if native_id is None or sys.platform != "linux":
        return None
    try:
        return time.clock_gettime_ns((~native_id << 3) | _PER_THREAD | _SCHEDULED)
    except OSError:
        return None


def sample_for(seconds: float, stop: threading.Event) -> Profile:
    """Sample for `seconds`, or until `stop` is set, and return the profile.

    The calling thread is not in it. The others run on: a look takes the interpreter's lock for
    well under a millisecond for each.
    """
    sampler, time_ns, begin_ns = Sampler(), time.time_ns(), time.monotonic_ns()
    end_ns, last_ns = begin_ns + int(seconds * 1e9), begin_ns
    due_ns = begin_ns + _PERIOD_NS
    while last_ns < end_ns and not stop.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
        now_ns = time.monotonic_ns()
        sampler.sample(now_ns - last_ns)
        last_ns = now_ns
        due_ns = max(due_ns + _PERIOD_NS, now_ns)
    return sampler.profile(time_ns, time.monotonic_ns() - begin_ns)
