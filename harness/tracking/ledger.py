"""What was opened and where: weak references and identities, never the resource itself."""

import sys
import threading
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple, cast
from weakref import ref

from harness.tracking.descriptors import Identity, identify
from harness.tracking.kinds import Kind
from harness.tracking.stacks import RawStack, capture, joined

SWEEP_AT = 64
UNOWNED_KEPT = 4096
UnownedKey = tuple[str, int, Any]
"""Kind, `id` of the object where it can be found again, path."""


class Scope(NamedTuple):
    """On whose behalf a thread works: its name, the stack that started it; unwatched is ours."""

    thread_name: str
    origin: RawStack | None = None
    watched: bool = True


class Origin(NamedTuple):
    """Where something was opened: `task` is the stack that created the running task."""

    stack: RawStack
    scope: Scope
    at_s: float
    task: RawStack | None


class Owned(NamedTuple):
    """A resource that a Python object owns; `hint` tells its descriptor where it hides it."""

    owner: "ref[Any]"
    kind: Kind
    origin: Origin
    hint: object = None


class Raw(NamedTuple):
    """A descriptor that was a plain number when it was opened."""

    number: int
    identity: Identity
    origin: Origin


_UNKNOWN_THREAD: tuple[Callable[[], Any], RawStack | None, bool] = (lambda: None, None, True)
_UNKNOWN_TASK: tuple[Callable[[], Any], RawStack | None] = (lambda: None, None)


class Ledger:
    """Keeps origins, and drops those of owners that are gone each time their number doubles."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_opened: Callable[[Owned | Raw], None] | None = None
        self.raw: dict[int, Raw] = {}
        self.unowned: dict[UnownedKey, Origin] = {}
        self._clock = clock
        self._owned: list[tuple[Any, ...]] = []
        self._sweep_at = SWEEP_AT
        self._sweeping = allocate_lock()
        self._local = threading.local()
        self._threads: dict[int, tuple[Callable[[], Any], RawStack | None, bool]] = {}
        self._tasks: dict[int, tuple[Callable[[], Any], RawStack | None]] = {}

    def own(self, owner: object, kind: Kind, frame: FrameType, hint: object = None) -> None:
        """Remember that `owner` opened something of `kind` at `frame`.

        An owner that takes no weak reference is left to the system's listing. The hot path: a
        flat tuple, and no call that can be spared.
        """
        try:
            reference = ref(owner)
        except TypeError:
            return
        try:
            scope = self._local.scope
        except AttributeError:
            scope = self._new_scope()
        task = self._task_origin() if self._tasks else None
        owned = self._owned
        record = (reference, kind, hint, capture(frame), scope, self._clock(), task)
        owned.append(record)
        if len(owned) > self._sweep_at or self.on_opened is not None:
            self._kept(record)

    def _kept(self, record: tuple[Any, ...]) -> None:
        if len(self._owned) > self._sweep_at:
            self._sweep()
        if self.on_opened is not None:
            self.on_opened(_named(record))

    def number(self, number: int, origin: Origin) -> None:
        """Remember where descriptor `number` was opened."""
        identity = identify(number)
        if identity is not None:
            self.raw[number] = record = Raw(number, identity, origin)
            if self.on_opened is not None:
                self.on_opened(record)

    def without_reference(self, key: UnownedKey, frame: FrameType) -> None:
        """Remember where something that takes no weak reference was opened, the last 4096 keys."""
        self.unowned.pop(key, None)
        self.unowned[key] = self.origin(frame)
        while len(self.unowned) > UNOWNED_KEPT:
            self.unowned.pop(next(iter(self.unowned)), None)

    def owned(self) -> Iterator[tuple[Any, Owned]]:
        """Yield (owner, record) for each owner that is alive."""
        for record in list(self._owned):
            owner = record[0]()
            if owner is not None:
                yield owner, _named(record)

    def origin(self, frame: FrameType) -> Origin:
        """Return the present place: stack, thread, time and the running task's creator."""
        task = self._task_origin() if self._tasks else None
        return Origin(capture(frame), self._scope(), self._clock(), task)

    def thread_starts(self, thread: threading.Thread, frame: FrameType) -> None:
        """Remember the stack that starts `thread`, before it runs."""
        origin = self.origin(frame)
        self._threads[id(thread)] = (ref(thread), self._whole(origin), origin.scope.watched)

    def task_created(self, task: object, kind: Kind, frame: FrameType) -> None:
        """Remember `task`, a resource of its own, and the stack that created it."""
        origin = self.origin(frame)
        reference = ref(task)
        self._tasks[id(task)] = (reference, self._whole(origin))
        record = (reference, kind, None, *origin)
        self._owned.append(record)
        self._kept(record)

    def creation(self, frame: FrameType) -> RawStack:
        """Return the whole stack at `frame`, for work that another thread will do."""
        return self._whole(self.origin(frame))

    @contextmanager
    def on_behalf_of(self, creation: RawStack | None, watched: bool = True) -> Iterator[None]:
        """Work in this thread for the stack `creation`, as a pool's worker does."""
        before = self._scope()
        self._local.scope = before._replace(origin=creation, watched=watched and before.watched)
        try:
            yield
        finally:
            self._local.scope = before

    def _whole(self, origin: Origin) -> RawStack:
        return joined(origin.stack, origin.task or origin.scope.origin)

    def _scope(self) -> Scope:
        try:
            return cast(Scope, self._local.scope)
        except AttributeError:
            return self._new_scope()

    def _new_scope(self) -> Scope:
        """Make this thread's scope; a thread that Python did not start has no name of its own."""
        thread = threading._active.get(threading.get_ident())  # type: ignore[attr-defined]
        started, origin, watched = self._threads.get(id(thread), _UNKNOWN_THREAD)
        if started() is not thread:
            _, origin, watched = _UNKNOWN_THREAD
        scope = Scope(getattr(thread, "name", "foreign thread"), origin, watched)
        if thread is not None:
            self._local.scope = scope
        return scope

    def _task_origin(self) -> RawStack | None:
        asyncio = sys.modules.get("asyncio")
        loop = None if asyncio is None else asyncio._get_running_loop()
        if asyncio is None or loop is None:
            return None
        task = asyncio.current_task(loop)
        created, origin = self._tasks.get(id(task), _UNKNOWN_TASK)
        return origin if created() is task else None

    def _sweep(self) -> None:
        """Drop what is gone; what other threads append meanwhile stays behind the slice."""
        if not self._sweeping.acquire(blocking=False):
            return
        try:
            length = len(self._owned)
            alive = [record for record in self._owned[:length] if record[0]() is not None]
            self._owned[:length] = alive
            self._sweep_at = max(SWEEP_AT, 2 * len(alive))
            for table in (self._tasks, self._threads):
                _drop_dead(table)
        finally:
            self._sweeping.release()


def _drop_dead(table: dict[int, Any]) -> None:
    for number, entry in list(table.items()):
        if entry[0]() is None and table.get(number) is entry:
            table.pop(number, None)


def _named(record: tuple[Any, ...]) -> Owned:
    reference, kind, hint, *origin = record
    return Owned(reference, kind, Origin(*origin), hint)
