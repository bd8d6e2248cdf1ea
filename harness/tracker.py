"""Where each resource that is still open was opened.

    with Tracker() as tracker:
        serve()
        for opened in tracker.open_resources():
            print(opened.kind, opened.target, opened.stack[:1])

The tracker notes the place at each opening and never hooks a close: what has been closed or
dropped is found when listing, by asking the owner (held by a weak reference) and the operating
system. What no hook saw, a C extension's descriptor say, is in the system's listing and is
reported with an empty stack. Descriptors open before the tracker started are its baseline.

Limits. `open` and the like are replaced in the globals of every module; a reference that was put
into a class, a default or a container before the tracker started opens unseen, and so does
`io.FileIO(...)`. Tasks of event loops that are not asyncio's own (uvloop) do not carry their
creator's stack. Where Python blames the caller of `open` or shows its traceback (an
EncodingWarning, `-X tracemalloc`, a caught OSError that is printed), a frame of
`harness/tracking/hooks.py` comes between.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from fnmatch import fnmatch
from functools import partial
from time import sleep  # by name: a test may put its own stand-in into `time`
from types import TracebackType
from typing import Self

from harness.model import Opened
from harness.tracking.descriptors import Descriptor, Identity, list_descriptors
from harness.tracking.hooks import Hooks
from harness.tracking.ledger import Ledger, Origin, Owned, Raw
from harness.tracking.stacks import Frame, Resolver, prepare
from harness.tracking.survey import Entry, describe, survey

NOTING_S = 0, 0.005, 0.02, 0.1
"""Another thread may be between its opening and our note of it, or list a folder for a moment, and
get no processor there: what no hook seems to have seen is looked for again after each of these, and
only what is there at every look is called unseen. What is new at the last may be noted just now."""
Facts = tuple[str, str, int | None]
Describe = Callable[[], Opened | None]
Listing = Callable[[], Mapping[int, Descriptor]]


class Tracker:
    """Remembers where resources are opened from `with` on.

    `clock` gives monotonic seconds, `exclude` patterns (as in fnmatch) for a target, kind or
    opening file not to report, `list_descriptors` what the operating system has open now.
    `on_error` is called with each `OSError` that an opening raises, and `on_opened` after each
    opening, with a function that describes what was opened (`None`: excluded or gone already).
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        exclude: tuple[str, ...] = (),
        list_descriptors: Listing = list_descriptors,
        on_error: Callable[[OSError], None] = lambda _: None,
        on_opened: Callable[[Describe], None] | None = None,
    ) -> None:
        self._clock = clock
        self._exclude = exclude
        self._list = list_descriptors
        self._ledger = Ledger(clock)
        if on_opened is not None:
            self._ledger.on_opened = lambda record: on_opened(partial(self._describe, record))
        self._hooks = Hooks(self._ledger, on_error)
        self._baseline: dict[int, Identity] = {}
        self._noticed: dict[Facts, float] = {}

    def __enter__(self) -> Self:
        prepare()
        # In this order, what another thread opens just now is in the one or the other.
        self._hooks.install()
        with self.unwatched():
            self._baseline = {number: each.identity for number, each in self._list().items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hooks.remove()

    def unwatched(self) -> AbstractContextManager[None]:
        """Leave out what this thread, and threads that it starts, open within the `with`."""
        return self._ledger.on_behalf_of(None, watched=False)

    def open_resources(self) -> list[Opened]:
        """Return what was opened since the start and is still open, oldest first.

        One entry for each descriptor and one for each resource that has none; a transport and
        the socket it drives are both listed, with the same `descriptor`.
        """
        entries = self._survey()
        for pause_s in NOTING_S:
            if not (news := self._news(entries)):
                break
            sleep(pause_s)
            entries = self._survey()
            later = self._news(entries) - news
            entries = [each for each in entries if each.origin or _facts(each) not in later]
        present = {_facts(each) for each in entries}
        self._noticed = {key: at_s for key, at_s in self._noticed.items() if key in present}
        resolve = Resolver()
        opened = [self._opened(each, resolve) for each in entries if _is_watched(each.origin)]
        kept = [each for each in opened if not self._is_excluded(each)]
        return sorted(kept, key=lambda each: each.opened_at_s)

    def stack_of(self, owner: object) -> tuple[Frame, ...]:
        """Return the stack at which `owner` was opened, also once it is closed; empty: not seen."""
        for alive, record in self._ledger.owned():
            if alive is owner:
                return Resolver()(record.origin.stack, None)[0]
        return ()

    def _news(self, entries: list[Entry]) -> set[Facts]:
        unseen = {_facts(each) for each in entries if each.origin is None}
        return unseen - self._noticed.keys()

    def _survey(self) -> list[Entry]:
        return survey(self._ledger, self._list(), self._baseline)

    def _describe(self, record: Owned | Raw) -> Opened | None:
        entry = describe(record) if record.origin.scope.watched else None
        opened = None if entry is None else self._opened(entry, Resolver())
        return None if opened is None or self._is_excluded(opened) else opened

    def _opened(self, entry: Entry, resolve: Resolver) -> Opened:
        origin, facts = entry.origin, (entry.kind, entry.target)
        if origin is None:
            noticed_at_s = self._noticed.setdefault(_facts(entry), self._clock())
            return Opened(*facts, noticed_at_s, "", (), entry.descriptor, entry.owner)
        stack, via = resolve(origin.stack, origin.task or origin.scope.origin)
        name = origin.scope.thread_name
        return Opened(*facts, origin.at_s, name, stack, entry.descriptor, entry.owner, via)

    def _is_excluded(self, opened: Opened) -> bool:
        names = (opened.kind, opened.target, *(file for file, _, _ in opened.stack[:1]))
        return any(fnmatch(name, pattern) for name in names for pattern in self._exclude)


def _facts(entry: Entry) -> Facts:
    return entry.kind, entry.target, entry.descriptor


def _is_watched(origin: Origin | None) -> bool:
    return origin is None or origin.scope.watched
