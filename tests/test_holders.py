"""Examples of who holds an object, each with a real leak."""

import asyncio
import atexit
import functools
import gc
import importlib.util
import logging
import re
import socket
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import NoReturn

import pytest

from harness.holders import find_holders
from harness.instances import class_name
from harness.tracker import Tracker

KEPT: list[object] = []


@pytest.fixture(autouse=True)
def _forget_what_was_kept() -> Iterator[None]:
    yield
    KEPT.clear()


def open_file(path, refs):
    """Open a file that only its caller holds, and note it weakly."""
    handle = path.open("w")
    refs.append(weakref.ref(handle))
    return handle


class LogAggregator:
    """Keeps handles for later."""

    def __init__(self):
        self.recent = []


def lines_for(refs, **options):
    """Return all lines that tell who holds what is asked."""
    return [line for held in find_holders(refs, **options) for line in held.lines]


def test_a_list_in_a_module_level_object_is_named_from_the_module_on(tmp_path):
    """Alike ones are one line, with how many they are and how full their container is."""
    refs = []
    aggregator = LogAggregator()
    for number in range(5):
        aggregator.recent.append(open_file(tmp_path / str(number), refs))
    KEPT.append(aggregator)
    del aggregator
    assert lines_for(refs) == [
        f"{__name__}.KEPT (list, 1 item) → LogAggregator.recent (list, 5 items)"
        " → TextIOWrapper (1 of 5 alike)"
    ]


def test_what_is_held_in_two_ways_is_shown_in_both(tmp_path):
    """Mending one holder would leave the other."""
    refs = []
    handle = open_file(tmp_path / "log", refs)
    KEPT.extend([SimpleNamespace(stream=handle), LogAggregator()])
    KEPT[1].recent.append(handle)
    del handle
    assert set(lines_for(refs)) == {
        f"{__name__}.KEPT (list, 2 items) → SimpleNamespace.stream → TextIOWrapper",
        f"{__name__}.KEPT (list, 2 items) → LogAggregator.recent (list, 1 item) → TextIOWrapper",
    }


def test_a_stored_exception_holds_the_frame_and_its_file(tmp_path):
    """Exception → traceback → frame → file, with the frame's place."""
    refs = []

    def parse():
        handle = open_file(tmp_path / "input", refs)
        raise ValueError(handle.name)

    try:
        parse()
    except ValueError as error:
        KEPT.append(error)
    (line,) = lines_for(refs)
    assert line.startswith(
        f"{__name__}.KEPT (list, 1 item) → ValueError.__traceback__ → parse() at"
    )
    assert line.endswith(", local handle → TextIOWrapper")


def test_a_suspended_generator_holds_its_with_block(tmp_path):
    """A generator that was peeked at keeps its frame."""
    refs = []

    def read():
        with open_file(tmp_path / "input", refs) as handle:
            yield handle.name

    KEPT.append(read())
    next(KEPT[0])
    (line,) = lines_for(refs)
    assert "KEPT (list, 1 item) → generator read() at" in line
    assert line.endswith(", local handle → TextIOWrapper")


def test_loggings_registry_is_named(tmp_path):
    """A logger is never forgotten, nor is its handler."""
    handler = logging.FileHandler(tmp_path / "job.log")
    refs = [weakref.ref(handler.stream)]
    logger = logging.getLogger("job-of-test-holders")
    logger.addHandler(handler)
    try:
        line = lines_for(refs)[-1]
        assert line.startswith("logging.root.manager.loggerDict (dict,")
        assert line.endswith(
            "→ Logger.handlers (list, 1 item) → FileHandler.stream → TextIOWrapper"
        )
    finally:
        logger.removeHandler(handler)
        handler.close()


class Report:
    """Holds a file, and is held by what it registers."""

    def __init__(self, path, refs):
        self.handle = open_file(path, refs)

    @functools.lru_cache  # noqa: B019 (that is the leak)
    def load(self):
        """Give something that is worth keeping."""
        return 1

    def on_event(self):
        """Do nothing: to be registered is what it is for."""


def test_a_cache_on_a_method_and_a_bound_method_are_named(tmp_path):
    """`lru_cache` keeps `self`; a bus keeps bound methods."""
    refs = []
    report = Report(tmp_path / "report", refs)
    report.load()
    KEPT.append(report.on_event)
    del report
    by_bus, by_cache = lines_for(refs)
    Report.load.cache_clear()
    assert by_bus == (
        f"{__name__}.KEPT (list, 1 item) → bound method Report.on_event → Report.handle"
        " → TextIOWrapper"
    )
    assert by_cache.startswith(f"{__name__}.Report.load (lru_cache, 1 item) → ")
    assert by_cache.endswith("→ Report.handle → TextIOWrapper")


def test_a_closure_variable_is_named(tmp_path):
    """A callback that was registered keeps what it closes over."""
    refs = []

    def register():
        handle = open_file(tmp_path / "log", refs)
        KEPT.append(lambda: handle)

    register()
    assert lines_for(refs) == [
        f"{__name__}.KEPT (list, 1 item) → function <lambda>, closure variable handle"
        " → TextIOWrapper"
    ]


def test_a_blocked_thread_holds_what_its_stack_holds():
    """The thread's name and the place in its code; the thread itself lives because it runs."""
    release = threading.Event()
    started = threading.Event()
    refs = []

    def wait():
        ours, theirs = socket.socketpair()
        refs.append(weakref.ref(ours))
        with ours, theirs:
            started.set()
            release.wait()

    thread = threading.Thread(target=wait, name="stuck-reader")
    refs.append(weakref.ref(thread))
    thread.start()
    started.wait()
    del thread
    try:
        of_thread, of_socket = sorted(lines_for(refs, paths=1))
        assert of_thread.startswith("running: wait() at ")
        assert of_thread.endswith(" → thread 'stuck-reader'")
        assert of_socket.startswith("thread 'stuck-reader' in wait() at ")
        assert of_socket.endswith(", local ours → socket")
    finally:
        release.set()
        refs[0]().join()


def test_what_waits_is_held_by_who_keeps_it_rather_than_by_its_loop():
    """A socket that a task reads from: the local set that keeps the task comes before the loop."""

    async def read(reader):
        await reader.readline()

    async def main():
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        following = {asyncio.create_task(read(reader))}
        await asyncio.sleep(0)
        held = find_holders([*following])
        for task in following:
            task.cancel()
        writer.close()
        theirs.close()
        return held

    (held,) = asyncio.run(main())
    assert re.search(r"local following \(set, 1 item\) → task '.*' in .*read\(\)", held.paths[0])


def test_a_set_of_tasks_is_named_and_else_the_task_itself(tmp_path):
    """A task that waits is held by its loop, which says nothing: the line starts at the task."""

    async def main():
        refs = []

        async def handle():
            stream = open_file(tmp_path / "x", refs)
            await asyncio.sleep(1000)
            stream.close()

        KEPT.append(asyncio.create_task(handle(), name="kept"))
        await asyncio.sleep(0)
        by_list = lines_for(refs, paths=1)
        task = KEPT.pop()
        weak = weakref.ref(task)
        del task
        by_loop = lines_for([*refs, weak], paths=1)
        weak().cancel()
        return by_list, by_loop

    by_list, by_loop = asyncio.run(main())
    assert by_list[0].startswith(f"{__name__}.KEPT (list, 1 item) → task 'kept' in handle() at ")
    assert by_list[0].endswith(", local stream → TextIOWrapper")
    assert all(line.startswith("task 'kept' in handle() at ") for line in by_loop)


@asynccontextmanager
async def waiting_forever():
    """Keep a task that waits, as a local variable of this generator alone; yield it weakly."""
    following = {asyncio.create_task(asyncio.Event().wait(), name="kept")}
    await asyncio.sleep(0)
    yield [weakref.ref(task) for task in following]
    for task in following:
        task.cancel()


async def found_aside(refs):
    """Search from another thread, once the task that asks waits."""
    waits = threading.Event()
    asyncio.get_running_loop().call_soon(waits.set)

    def search():
        waits.wait()
        return lines_for(refs, paths=1)

    return await asyncio.to_thread(search)


async def found_at_once(refs):
    """Search in the task that asks."""
    return lines_for(refs, paths=1)


@pytest.mark.parametrize("search", [found_at_once, found_aside])
def test_a_task_that_another_one_keeps_is_held_by_that_one(search):
    """The loop only lets the first one run, and what is on the way from there says who keeps it."""

    async def main():
        async with waiting_forever() as refs:
            return await search(refs)

    (line,) = asyncio.run(main())
    assert " waiting_forever() at " in line
    assert ", local following (set, 1 item) → task 'kept' in wait() at " in line


def test_a_task_that_waits_for_another_one_is_not_held_by_it():
    """Who could wake a task does not keep it in the program: the line starts at the task."""

    async def main():
        never = asyncio.Event()
        waiting = weakref.ref(asyncio.create_task(never.wait(), name="waiting"))
        await asyncio.sleep(0)
        lines = await found_aside([waiting])
        never.set()
        return lines

    (line,) = asyncio.run(main())
    assert line.startswith("task 'waiting' in wait() at ")


def test_a_finalizer_is_named_only_where_nobody_else_holds(tmp_path):
    """Its arguments live as long as what it finalizes: whoever keeps that is the reason."""
    refs = []
    loan = LogAggregator()
    loan.recent.append(open_file(tmp_path / "x", refs))
    returned = weakref.finalize(loan, print, loan.recent[0])
    assert (
        ", local loan → LogAggregator.recent (list, 1 item) → Text" in lines_for(refs, paths=1)[0]
    )
    loan.recent.clear()
    assert lines_for(refs, paths=1)[0].startswith("weakref.finalize._registry (dict, ")
    returned.detach()


def test_unreachable_cycles_are_named_as_such(tmp_path):
    """Late collection is no leak: what only holds itself says so."""
    refs = []
    node = SimpleNamespace(handle=open_file(tmp_path / "x", refs))
    node.me = node
    gc.disable()
    try:
        del node
        (line,) = lines_for(refs)
    finally:
        gc.enable()
    assert line == (
        "an unreachable cycle, which the next gc.collect() frees"
        " → SimpleNamespace.handle → TextIOWrapper"
    )


def test_what_c_code_holds_is_named_as_outside(tmp_path):
    """The exit functions are a list in C: no module, frame or container shows them."""
    refs = []
    atexit.register(open_file(tmp_path / "x", refs).close)
    try:
        assert lines_for(refs) == [
            "outside Python's sight (C code or a running expression)"
            " → bound method TextIOWrapper.close → TextIOWrapper"
        ]
    finally:
        refs[0]().close()
        atexit.unregister(refs[0]().close)


def test_the_last_object_on_the_heap_is_not_outside_for_being_gone_through(monkeypatch):
    """The search's own reference to the object that it came to last is no reference from C."""

    def keep():
        kept = [{1}]
        atexit.register(kept.clear)
        return weakref.ref(kept[0])

    def last_of_all():
        return [each for each in everything() if each is not last()] + [last()]

    everything, last = gc.get_objects, keep()
    monkeypatch.setattr(gc, "get_objects", last_of_all)
    (line,) = lines_for([last])
    assert line.endswith(" → bound method list.clear → list (1 item) → set (1 item)")


def test_the_search_never_names_itself(tmp_path):
    """Neither the question nor a former search is a holder, also when nobody else is one."""
    handle = (tmp_path / "x").open("w")
    with handle:
        for _ in range(3):
            lines = [line for held in find_holders([handle]) for line in held.lines]
            assert len(lines) == 1
            assert lines[0].endswith(", local handle → TextIOWrapper")
            assert "harness" not in lines[0].partition(" at ")[2].rpartition("/")[2]


def test_the_search_leaves_nothing_behind(tmp_path):
    """After it, what the program drops is closed at once, also what frames hold as locals."""

    def hold():
        handle = open_file(tmp_path / "x", refs)
        find_holders([handle])
        del handle
        return refs[0]()

    refs = []
    gc.disable()
    try:
        assert hold() is None
        assert refs[0]() is None
    finally:
        gc.enable()


def test_a_dead_weak_reference_is_held_by_nothing(tmp_path):
    """What closed between two looks is no finding."""
    refs = []
    open_file(tmp_path / "x", refs).close()
    gc.collect()
    assert lines_for(refs) == ["nothing: it was closed meanwhile"]


def test_groups_cover_every_object_and_the_largest_comes_first(tmp_path):
    """`members` are positions in what was asked."""
    refs = []
    KEPT.append(SimpleNamespace(one=open_file(tmp_path / "a", refs)))
    KEPT.append({number: open_file(tmp_path / str(number), refs) for number in range(3)})
    assert [held.members for held in find_holders(refs)] == [(1, 2, 3), (0,)]


def test_what_stands_for_a_module_need_not_be_hashable(monkeypatch):
    """Libraries put objects of their own into `sys.modules`."""

    class Odd:
        __hash__ = None

    odd = Odd()
    odd.kept = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "odd", odd)
    assert any("Odd.kept" in line for line in lines_for([odd.kept]))


def asked(*_: object, **__: object) -> NoReturn:
    """Stand for code of the program's that looking must not run."""
    raise RuntimeError("working outside of request context")


class Meta(type):
    """A metaclass that tells nothing of its classes, and lets nobody compare them."""

    __hash__ = None
    __eq__ = __instancecheck__ = __subclasscheck__ = asked
    __name__ = property(asked)


class OfMeta(metaclass=Meta):
    """Has its file in its dictionary."""


class Request:
    """Stands for something that is not there now, as Flask's `request` does."""

    __class__ = property(asked)
    __getattribute__ = __getattr__ = __eq__ = __hash__ = __bool__ = __len__ = __repr__ = asked


class Slotted:
    """Has its file in a slot."""

    __slots__ = ("log",)
    __getattribute__ = asked


class Listed(list[object]):
    """Has its file as an item."""

    __getattribute__ = __len__ = __iter__ = __eq__ = asked


class Mapped(dict[str, object]):
    """Has its file as a value."""

    __getattribute__ = __len__ = __iter__ = items = values = asked


@pytest.mark.parametrize("kind", [OfMeta, Request, Slotted, Listed, Mapped], ids=class_name)
def test_the_programs_objects_are_not_asked_what_they_are(kind, tmp_path):
    """Django's lazy objects query the database when `isinstance` asks them, others raise."""
    refs = []
    holder = kind()
    file = open_file(tmp_path / "log", refs)
    if kind is Listed:
        list.append(holder, file)
    elif kind is Mapped:
        dict.__setitem__(holder, "log", file)
    else:
        object.__setattr__(holder, "log", file)
    KEPT.append(holder)
    del holder, file
    (line,) = lines_for(refs)
    assert line.startswith(f"{__name__}.KEPT (list, 1 item) → {class_name(kind)}")
    assert line.endswith(" → TextIOWrapper")


def test_a_dead_proxy_is_named_as_what_it_is():
    """What it stood for is gone; asking it anything raises."""
    KEPT.append(weakref.proxy(LogAggregator()))
    assert lines_for([KEPT[0]]) == [f"{__name__}.KEPT (list, 1 item) → ProxyType"]


def test_a_module_that_is_loaded_when_it_is_needed_stays_so(tmp_path, monkeypatch):
    """Neither the search nor the tracker is a need: what it opens may be a database."""
    tmp_path.joinpath("costly.py").write_text("raise RuntimeError('loaded')")
    spec = importlib.util.spec_from_file_location("costly", tmp_path / "costly.py")
    loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "costly", module)
    with Tracker() as tracker, (tmp_path / "log").open("w") as log:
        assert lines_for([log])
        assert [each.descriptor for each in tracker.open_resources()] == [log.fileno()]
    with pytest.raises(RuntimeError, match="loaded"):
        assert module.connection
