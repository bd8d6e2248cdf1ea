"""Brings together what the ledger remembers and what the operating system has open now."""

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from weakref import ref

from harness.collector import known
from harness.tracking import kinds
from harness.tracking.descriptors import Descriptor, Identity, describe_descriptor
from harness.tracking.ledger import Ledger, Origin, Owned, Raw

Listing = Mapping[int, Descriptor]
POLLS = {"epoll", "kqueue"}
DELETED = " (deleted)"
"""What Linux puts behind the name of a file that has none any more (proc_pid_fd(5))."""


@dataclass(frozen=True)
class Entry:
    """One open resource; `origin` is `None` where no hook saw it open."""

    kind: str
    target: str
    descriptor: int | None
    origin: Origin | None
    owner: Callable[[], Any | None] | None = None


def survey(ledger: Ledger, listed: Listing, baseline: Mapping[int, Identity]) -> list[Entry]:
    """Return every resource that is open and was not in `baseline`, each descriptor once.

    A transport is listed beside the socket it drives, with the same descriptor.
    """
    entries = [*_owned(ledger, listed)]
    entries += _raw(ledger, _free(listed, entries), baseline)
    for find in (_mapped, _connections, _directories):
        entries += find(ledger, _free(listed, entries))
    entries += _unseen(_free(listed, entries), baseline)
    return entries


def describe(record: Owned | Raw) -> Entry | None:
    """Return the entry of something that has just been opened; `None` if it is gone already."""
    if isinstance(record, Raw):
        system = describe_descriptor(record.number)
        return next(_raw_entries([record], {record.number: system}), None) if system else None
    owner = record.owner()
    number = None if owner is None else record.kind.descriptor(owner)
    system = None if number is None else describe_descriptor(number)
    return None if owner is None else _entry(owner, record, system)


def _untraceable() -> None:
    """Stand for an owner that takes no weak reference, and that the collector does not know."""


def _free(listed: Listing, entries: list[Entry]) -> Listing:
    claimed = {entry.descriptor for entry in entries}
    return {number: each for number, each in listed.items() if number not in claimed}


def _owned(ledger: Ledger, listed: Listing) -> Iterator[Entry]:
    """Yield what live objects own; of two objects on one descriptor, the one made last."""
    taken: set[int] = set()
    for owner, record in reversed(list(ledger.owned())):
        try:
            entry = _ask(owner, record, listed)
        except Exception:  # noqa: BLE001  a half-made object of the program's: the system knows
            continue
        if entry is None or (entry.descriptor in taken and record.kind is not kinds.TRANSPORT):
            continue
        if entry.descriptor is not None and record.kind is not kinds.TRANSPORT:
            taken.add(entry.descriptor)
        yield entry


def _ask(owner: Any, record: Owned, listed: Listing) -> Entry | None:  # noqa: ANN401
    if record.kind is kinds.MMAP or not record.kind.is_open(owner):
        return None
    number = record.kind.descriptor(owner)
    if number is not None and number not in listed:
        return None
    return _entry(owner, record, None if number is None else listed[number])


def _entry(owner: object, record: Owned, system: Descriptor | None) -> Entry:
    """Name a file object on a pipe a pipe, and one without a name by what the system calls it."""
    kind, target = record.kind.name, record.kind.target(owner)
    if system is not None and record.kind in (kinds.FILE, kinds.CONNECTION):
        kind = "file" if system.kind == "device" else system.kind
        target = target or system.target
    return Entry(kind, target, _number(system), record.origin, record.owner)


def _number(system: Descriptor | None) -> int | None:
    return None if system is None else system.number


def _raw(ledger: Ledger, free: Listing, baseline: Mapping[int, Identity]) -> Iterator[Entry]:
    """Yield plain numbers that are still what they were: a regular file's is an "fd".

    One that `dup2` has put back to what it was at the start is the baseline's again.
    """
    records = list(ledger.raw.values())
    return _raw_entries([r for r in records if baseline.get(r.number) != r.identity], free)


def _raw_entries(records: Iterable[Raw], free: Listing) -> Iterator[Entry]:
    for record in records:
        system = free.get(record.number)
        if system is not None and system.identity == record.identity:
            kind = "fd" if system.kind in ("file", "device") else system.kind
            owner = _untraceable if kind in POLLS else None
            yield Entry(kind, system.target, system.number, record.origin, owner)


def _mapped(ledger: Ledger, free: Listing) -> Iterator[Entry]:
    """Yield open mmaps, each with a descriptor of the same file: the duplicate it hides."""
    left = dict(free)
    for mapped, record in ledger.owned():
        if record.kind is not kinds.MMAP or mapped.closed:
            continue
        same = [number for number, each in left.items() if each.identity == record.hint]
        system = left.pop(same[0]) if same else None
        target = system.target if system else record.kind.target(mapped)
        yield Entry("mmap", target, _number(system), record.origin, record.owner)


def _connections(ledger: Ledger, free: Listing) -> Iterator[Entry]:
    """Yield open sqlite3 connections, and the journal files beside their database."""
    keys = [key for key in list(ledger.unowned) if key[0] == "sqlite3"]
    alive = live_connections() if keys else {}
    find = _Lookup({number for _, number, _ in keys if number in alive})
    left = dict(free)
    for key in keys:
        _, number, path = key
        if number not in alive or not _is_open_connection(alive[number]):
            continue
        origin, finder = ledger.unowned[key], partial(find, number)
        main = [
            each for each in left.values() if path and each.target.removesuffix(DELETED) == path
        ][:1]
        beside = [each for each in left.values() if path and each.target.startswith(f"{path}-")]
        yield Entry(
            "sqlite3", path or ":memory:", _number(main[0] if main else None), origin, finder
        )
        for each in beside:
            yield Entry("file", each.target, each.number, origin, finder)
        for each in (*main, *beside):
            del left[each.number]


class _Lookup:
    """Finds connections by identity: they take no weak reference.

    Who asks for one asks for all of them in a row, and each look at the heap takes milliseconds:
    so the first question finds all, and each answer is given once and forgotten.
    """

    def __init__(self, asked_for: set[int]) -> None:
        self._asked_for = asked_for
        self._found: dict[int, Any] = {}

    def __call__(self, number: int) -> Any | None:  # noqa: ANN401
        if number not in self._asked_for:
            return live_connections().get(number)
        if not self._found:
            alive = live_connections()
            self._found = {each: alive[each] for each in self._asked_for if each in alive}
        self._asked_for.discard(number)
        return self._found.pop(number, None)


def live_connections() -> dict[int, Any]:
    """Return the sqlite3 connections that the garbage collector knows, by `id`."""
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is None:
        return {}
    return {id(each): each for each in known(sqlite3.Connection)}


def _is_open_connection(connection: Any) -> bool:  # noqa: ANN401
    try:
        return bool(connection.total_changes >= 0)
    except Exception:  # noqa: BLE001  sqlite3.ProgrammingError, not imported for this
        return False


def _directories(ledger: Ledger, free: Listing) -> Iterator[Entry]:
    """Yield directory handles that `os.scandir` left open."""
    open_now = [each for each in free.values() if each.kind == "directory"]
    if not open_now:
        return
    scanned = {
        key[2]: origin for key, origin in list(ledger.unowned.items()) if key[0] == "directory"
    }
    by_path = {_absolute(path): origin for path, origin in scanned.items()}
    for each in open_now:
        if each.target in by_path:
            origin = by_path[each.target]
            yield Entry("directory", each.target, each.number, origin, _untraceable)


def _absolute(path: Any) -> str:  # noqa: ANN401
    if isinstance(path, int):
        return ""
    return str(Path(path.decode() if isinstance(path, bytes) else path).resolve())


def _unseen(free: Listing, baseline: Mapping[int, Identity]) -> Iterator[Entry]:
    """Yield what is open and was neither seen opening nor open before."""
    new = [each for each in free.values() if baseline.get(each.number) != each.identity]
    owners = _file_objects() if new else {}
    for each in new:
        yield Entry(each.kind, each.target, each.number, None, owners.get(each.number))


def _file_objects() -> dict[int, "ref[Any]"]:
    """Return the raw file objects by descriptor: some are made without `open`."""
    found = {}
    for each in known(io.FileIO):
        with suppress(ValueError):  # closed, maybe by another thread just now
            found[io.FileIO.fileno(each)] = ref(each)
    return found
