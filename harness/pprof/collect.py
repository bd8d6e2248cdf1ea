"""The kinds of profile, by the names that they have in a URL."""

from dataclasses import dataclass, field

from harness.pprof import goroutines
from harness.pprof.descriptors import (
    Descriptor,
    Origins,
    descriptors,
    fd_profile,
    socket_profile,
)
from harness.pprof.goroutines import Goroutine, Numbers, Snapshot
from harness.pprof.memory import memory_profile
from harness.pprof.profile import Profile
from harness.probes.tasks import Predicate

SNAPSHOTS = {
    "goroutine": "Every asyncio task, and every thread that runs no event loop, with its calls.",
    "threadcreate": "Every thread that runs Python, those that run event loops too.",
    "fd": "Every open descriptor: files, sockets, pipes, and what event loops hold.",
    "socket": "Every open socket, its two ends and its state.",
    "heap": "The memory in use, by the lines that allocated it (needs tracemalloc).",
    "allocs": "The same: Python forgets what it freed. ?seconds=10 shows what came in that time.",
}
"""The kinds that show one moment, and what each is."""

PROFILE = "profile"
PROFILE_IS = "Where the threads spend their time, looked at 100 times a second for ?seconds=30."


@dataclass(frozen=True)
class Own:
    """The server's own connections, by the address that they came to; none if it is empty."""

    address: str = ""

    def descriptor(self, found: Descriptor) -> bool:
        """Tell whether `found` is such a connection."""
        return found.own == self.address != "" and found.state != "LISTEN"

    def goroutine(self, found: Goroutine) -> bool:
        """Tell whether `found` waits for a request on such a connection."""
        return self.address != "" and found.waits_on.startswith(f"tcp {self.address} -> ")


@dataclass(frozen=True)
class Collector:
    """Takes profiles of this process, without the observer in them.

    `exclude` accepts the tasks of the observer; `origins` tells who opened a descriptor, where
    that is known.
    """

    exclude: Predicate | None = None
    origins: Origins | None = None
    numbers: Numbers = field(default_factory=Numbers)

    def goroutines(self, own: Own) -> list[Goroutine]:
        """Return all tasks and threads, those that run event loops last, without `own`."""
        found = Snapshot(self.numbers, self.exclude).goroutines()
        return [each for each in found if not own.goroutine(each)]

    def snapshot(self, kind: str, own: Own) -> Profile:
        """Return the profile called `kind`, without the connections in `own`.

        Raises `ProfileError` where it cannot be taken.
        """
        match kind:
            case "goroutine":
                return goroutines.profile(self.goroutines(own))
            case "threadcreate":
                return goroutines.thread_profile(self.goroutines(own))
            case "fd":
                return fd_profile(self._descriptors(own), self.origins)
            case "socket":
                return socket_profile(self._descriptors(own), self.origins)
            case "heap" | "allocs":
                return memory_profile()
        raise KeyError(kind)

    def _descriptors(self, own: Own) -> list[Descriptor]:
        return [found for found in descriptors() if not own.descriptor(found)]
