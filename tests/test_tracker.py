"""The tracker names the line that opened what is still open, and nothing else."""

import asyncio
import builtins
import gc
import inspect
import io
import mmap
import multiprocessing
import os
import pickle
import select
import selectors
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from harness.tracker import Tracker
from harness.tracking import descriptors, survey
from harness.tracking.descriptors import list_descriptors

HERE = __file__


@pytest.fixture
def tracker():
    with Tracker() as started:
        yield started


def kinds_here(tracker):
    """Return the kinds of what this file opened, oldest first."""
    return [
        each.kind
        for each in tracker.open_resources()
        if each.stack[:1] and each.stack[0][0] == HERE
    ]


def place(frame):
    file, _, function = frame
    return Path(file).name, function.rpartition(".")[2]


def open_pipe_ends():
    read, write = os.pipe()
    return os.fdopen(read, "rb"), os.fdopen(write, "wb")


def close_all(opened):
    for each in opened:
        each.close()


def close_numbers(numbers):
    for number in numbers if isinstance(numbers, tuple) else (numbers,):
        os.close(number)


def sleeping_process():
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def end_process(process):
    process.communicate(b"\n")


def idle_executor():
    executor = ThreadPoolExecutor(1)
    executor.submit(int).result()
    return executor


def mapped_file():
    with open(HERE, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def waiting_thread():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, daemon=True)
    thread.start()
    return thread, stop


def stop_thread(thread_and_stop):
    thread, stop = thread_and_stop
    stop.set()
    thread.join()


def close(opened):
    opened.close()


PLANTED = {
    "file": (lambda: open(HERE), close, ["file"]),
    "unbuffered": (lambda: open(HERE, "rb", buffering=0), close, ["file"]),
    "temporary": (tempfile.TemporaryFile, close, ["file"]),
    "os.open": (lambda: os.open(HERE, os.O_RDONLY), close_numbers, ["fd"]),
    "dup": (lambda: os.dup(0), close_numbers, None),
    "pipe": (lambda: os.pipe(), close_numbers, ["pipe", "pipe"]),
    "pipe files": (open_pipe_ends, close_all, ["pipe", "pipe"]),
    "socket": (socket.socket, close, ["socket"]),
    "socketpair": (socket.socketpair, close_all, ["socket", "socket"]),
    "process": (sleeping_process, end_process, ["pipe", "process"]),
    "mmap": (mapped_file, close, ["mmap"]),
    "anonymous mmap": (lambda: mmap.mmap(-1, 4096), close, ["mmap"]),
    "sqlite3": (lambda: sqlite3.connect(":memory:"), close, ["sqlite3"]),
    "sqlite3 by name": (
        lambda: sqlite3.connect(timeout=1, database=":memory:"),
        close,
        ["sqlite3"],
    ),
    "selector": (selectors.DefaultSelector, close, ["selector"]),
    "directory": (lambda: os.scandir("/usr"), close, ["directory"]),
    "thread": (waiting_thread, stop_thread, ["thread"]),
    "executor": (idle_executor, lambda executor: executor.shutdown(), ["executor", "thread"]),
}


@pytest.mark.parametrize("name", PLANTED)
def test_names_what_is_open_and_falls_silent(tracker, name):
    """Each kind of resource is named with this file while it is open, and not after."""
    plant, release, expected = PLANTED[name]
    opened = plant()
    found = kinds_here(tracker)
    assert found == expected if expected else len(found) == 1
    release(opened)
    assert kinds_here(tracker) == []


@pytest.mark.parametrize("name", PLANTED)
def test_an_opening_that_cannot_be_noted_succeeds_all_the_same(name):
    """What looks at it may be a test's fake, which raises what it likes."""

    def refuse():
        raise AssertionError

    plant, release, _ = PLANTED[name]
    with Tracker(clock=refuse):
        release(plant())


def test_a_fake_that_raises_is_asked_in_vain(tracker, monkeypatch):
    """As pyfakefs's `fstat` does: the descriptor is not known, and nothing is raised."""

    def refuse(number):
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(descriptors, "fstat", refuse)
        assert descriptors.identify(0) is None
        number = os.dup(0)
    os.close(number)


ON_SOME_SYSTEMS = {
    "epoll": select,
    "memfd_create": os,
    "eventfd": os,
    "openpty": os,
    "timerfd_create": os,
}
SOME_HERE = [call for call, module in ON_SOME_SYSTEMS.items() if hasattr(module, call)]


@pytest.mark.parametrize("call", SOME_HERE)
def test_names_descriptors_that_only_some_systems_have(tracker, call):
    """Descriptors that are plain numbers, or nearly, are named by the call's line."""
    module = ON_SOME_SYSTEMS[call]
    arguments = {"memfd_create": ("x",), "eventfd": (0,), "timerfd_create": (1,)}
    opened = getattr(module, call)(*arguments.get(call, ()))
    assert len(kinds_here(tracker)) == (2 if call == "openpty" else 1)
    close(opened) if call == "epoll" else close_numbers(opened)
    assert kinds_here(tracker) == []


def test_gives_line_function_and_thread(tracker):
    """The first frame is the user's line, with its function; the time is on the given clock."""
    line = inspect.currentframe().f_lineno + 1
    file = open(HERE)
    (opened,) = [each for each in tracker.open_resources() if each.kind == "file"]
    assert opened.stack[0] == (HERE, line, "test_gives_line_function_and_thread")
    assert (opened.target, opened.descriptor) == (HERE, file.fileno())
    assert opened.thread_name == threading.current_thread().name
    assert opened.owner() is file
    file.close()


def test_an_owner_is_known_by_its_stack_also_once_it_is_closed(tracker):
    """Who holds a file that was dropped can still ask where it was opened; others are unknown."""
    with open(HERE) as file:
        pass
    ((path, line, function), *_) = tracker.stack_of(file)
    assert (path, function) == (HERE, "test_an_owner_is_known_by_its_stack_also_once_it_is_closed")
    assert "open(HERE)" in Path(HERE).read_text().splitlines()[line - 1]
    assert tracker.stack_of(object()) == ()


def test_folds_the_library_between(tracker):
    """What a library opens is told by the user's line, and by the library function it called."""
    number, path = tempfile.mkstemp()
    (opened,) = [each for each in tracker.open_resources() if each.target == path]
    assert opened.stack[0][0] == HERE
    assert opened.via == "tempfile.mkstemp"
    os.close(number)
    Path(path).unlink()


def test_keeps_nothing_alive(tracker):
    """A dropped file is closed as without the tracker, and its owner is gone."""
    file = open(HERE)
    (opened,) = [each for each in tracker.open_resources() if each.kind == "file"]
    del file
    assert opened.owner() is None
    assert kinds_here(tracker) == []


def test_what_was_open_before_is_the_baseline():
    """A file that was open before the tracker started is not its business."""
    with open(HERE), Tracker() as tracker:
        assert [each for each in tracker.open_resources() if each.target == HERE] == []


@pytest.mark.usefixtures("collected")
def test_a_reused_number_is_not_taken_for_the_old_one(tracker):
    """A number that a C extension gets after we closed it is not blamed on our line."""
    number = os.open(HERE, os.O_RDONLY)
    os.close(number)
    unseen = io.FileIO(os.devnull)  # made by its class: no hook sees it
    assert unseen.fileno() == number
    assert kinds_here(tracker) == []
    (opened,) = [each for each in tracker.open_resources() if each.descriptor == number]
    assert (opened.stack, opened.target) == ((), os.devnull)
    assert opened.owner() is unseen
    unseen.close()


def test_what_passes_while_it_looks_is_not_called_unseen():
    """At each look another file is open that no hook saw, as of imports: only what stays counts."""
    passing = io.FileIO(os.devnull)

    def listing():
        nonlocal passing
        passing = io.FileIO(os.devnull)  # the one before closes once this one has its number
        return list_descriptors()

    with Tracker(list_descriptors=listing) as tracker, io.FileIO(HERE) as stays:
        unseen = [each for each in tracker.open_resources() if not each.stack]
        assert [each.descriptor for each in unseen] == [stays.fileno()]
    passing.close()


def test_a_file_that_does_not_tell_its_number_has_its_owner_all_the_same(tracker):
    """A subclass may do there what it likes; its descriptor is the system's to tell."""

    class Remote(io.FileIO):
        def fileno(self):
            raise ConnectionError("working outside of a session")

    remote = Remote(os.devnull)
    (opened,) = [each for each in tracker.open_resources() if each.target == os.devnull]
    assert opened.owner() is remote
    io.FileIO.close(remote)


def test_a_descriptor_put_back_is_the_baselines(tracker):
    """Redirecting stdout and putting it back, as test runners do, leaves nothing open."""
    kept = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        os.dup2(kept, 1)
    os.close(kept)
    assert kinds_here(tracker) == []


def test_detached_descriptors_are_still_known(tracker):
    """A socket's number that is taken out of its object goes on being tracked, as a number."""
    sock = socket.socket()
    number = sock.detach()
    assert kinds_here(tracker) == ["socket"]
    os.close(number)
    assert kinds_here(tracker) == []


def test_an_accepted_connection_names_the_accepting_line(tracker):
    """Both ends of a connection are told apart by their lines and their addresses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        ends = {each.descriptor: each for each in tracker.open_resources() if "->" in each.target}
        assert ends[client.fileno()].via == "socket.create_connection"
        assert ends[accepted.fileno()].via == "socket.socket.accept"
        client.close()
        accepted.close()


def test_makefile_keeps_a_closed_socket_open(tracker):
    """After `sock.close()` a live `makefile` still has the descriptor, and it is listed."""
    sock = socket.create_server(("127.0.0.1", 0))
    stream = sock.makefile()
    sock.close()
    assert kinds_here(tracker) == ["socket"]
    stream.close()
    assert kinds_here(tracker) == []


def open_in_thread(opened):
    opened.append(open(HERE))


def start_worker(opened):
    thread = threading.Thread(target=open_in_thread, args=(opened,))
    thread.start()
    thread.join()


@pytest.mark.parametrize("duplex", [True, False])
def test_the_ends_of_a_multiprocessing_pipe_own_their_descriptors(duplex, tracker):
    """They close as the objects are dropped: nobody needs a number for that."""
    ends = multiprocessing.Pipe(duplex)
    opened = [each for each in tracker.open_resources() if each.stack[:1]]
    assert [each.kind for each in opened] == ["socket" if duplex else "pipe"] * 2
    assert {each.owner() for each in opened} == set(ends)
    assert opened[0].stack[0][0] == HERE
    del ends, opened
    assert kinds_here(tracker) == []


def test_a_process_that_was_waited_for_by_its_number_is_not_open(tracker):
    """Its object does not know of it."""
    process = subprocess.Popen(["true"])
    assert kinds_here(tracker) == ["process"]
    os.waitpid(process.pid, 0)
    assert kinds_here(tracker) == []
    process.returncode = 0


def test_a_threads_stack_goes_on_with_its_starter(tracker):
    """What a thread opened names the thread's function and then the line that started it."""
    opened = []
    start_worker(opened)
    (found,) = [each for each in tracker.open_resources() if each.kind == "file"]
    assert [place(frame)[1] for frame in found.stack[:2]] == ["open_in_thread", "start_worker"]
    assert found.thread_name != threading.current_thread().name
    opened[0].close()


def test_a_pools_work_names_who_submitted_it(tracker):
    """A library function run by a pool's thread names the submitting line, not the first one's."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        line = inspect.currentframe().f_lineno + 1
        number = executor.submit(os.open, HERE, os.O_RDONLY).result()
        (found,) = [each for each in tracker.open_resources() if each.descriptor == number]
        assert found.stack[0][:2] == (HERE, line)
    os.close(number)


async def connect(address):
    return await asyncio.open_connection(*address)


async def connect_in_a_task(address):
    return await asyncio.create_task(connect(address))


def test_a_tasks_stack_goes_on_with_its_creator(tracker):
    """A connection that asyncio opens in a task names the coroutine and then the task's creator."""

    async def main():
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        _, writer = await connect_in_a_task(server.sockets[0].getsockname())
        number = writer.get_extra_info("socket").fileno()
        found = [each for each in tracker.open_resources() if each.descriptor == number]
        writer.close()
        server.close()
        return found

    found = asyncio.run(main())
    assert [each.kind for each in found] == ["socket", "transport"]
    for each in found:
        assert [place(frame)[1] for frame in each.stack[:2]] == ["connect", "connect_in_a_task"]


def test_a_task_is_a_resource_until_it_is_done(tracker):
    """A task that waits for ever is named by its creator's line until it is cancelled."""

    async def main():
        task = asyncio.create_task(asyncio.sleep(3600), name="sleeper")
        await asyncio.sleep(0)
        before = [each.target for each in tracker.open_resources() if each.kind == "task"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        after = [each.target for each in tracker.open_resources() if each.kind == "task"]
        return before, after

    before, after = asyncio.run(main())
    assert "sleeper: sleep" in before
    assert "sleeper: sleep" not in after


def test_dropped_records_do_not_pile_up(tracker):
    """Opening and closing for ever keeps a bounded number of records."""
    for _ in range(1000):
        open(HERE).close()
    assert len(tracker._ledger._owned) < 200


def test_excludes_by_target_kind_and_file(tmp_path):
    """An excluded target, kind or opening file is not reported; others are."""
    for pattern, expected in (("*/noise", ["fd"]), ("fd", ["file"]), (HERE, [])):
        with Tracker(exclude=(pattern,)) as tracker, open(tmp_path / "noise", "w"):
            number = os.open(HERE, os.O_RDONLY)
            assert [each.kind for each in tracker.open_resources()] == expected
            os.close(number)


def test_own_work_is_unwatched(tracker):
    """What is opened in `unwatched` is left out, also by threads started there."""
    opened = []
    with tracker.unwatched():
        opened.append(open(HERE))
        start_worker(opened)
    assert kinds_here(tracker) == []
    close_all(opened)


def test_tells_of_errors(tmp_path):
    """An opening that fails is told and raised, unchanged."""
    errors = []
    with Tracker(on_error=errors.append), pytest.raises(FileNotFoundError) as raised:
        open(tmp_path / "missing")
    assert errors == [raised.value]


def test_lists_at_the_limit_of_descriptors():
    """With no descriptor left, the listing still works: it opens none itself."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "from harness.tracker import Tracker\n"
        "kept = []\n"
        "with Tracker() as tracker:\n"
        "    try:\n"
        "        while True: kept.append(open('/dev/null'))\n"
        "    except OSError: print(len(kept) == len(tracker.open_resources()) > 20)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "True\n", run.stderr


def test_what_the_program_sees_stays_as_it_was(tracker):
    """`open` and the like keep type, signature, identity, pickling and use as class attributes."""
    real = open.__wrapped__

    class Holder:
        opener = open

    assert isinstance(open, types.BuiltinFunctionType) and inspect.isbuiltin(open)
    assert inspect.signature(open) == inspect.signature(real)
    assert (repr(open), open.__name__, open.__doc__) == (repr(real), "open", real.__doc__)
    assert open is io.open is pickle.loads(pickle.dumps(open))
    assert open == real and hash(open) == hash(real)
    assert os.open in os.supports_dir_fd
    with Holder().opener(HERE) as file:
        assert type(file) is io.TextIOWrapper


def test_types_stay_types(tracker):
    """`mmap.mmap` can be tested against, subclassed and compared with as before."""

    class Mapped(mmap.mmap):
        pass

    with mmap.mmap(-1, 10) as plain, Mapped(-1, 10) as special:
        assert isinstance(plain, mmap.mmap) and isinstance(special, mmap.mmap)
        assert type(special) is Mapped and issubclass(Mapped, mmap.mmap)
        assert type(plain) == mmap.mmap  # noqa: E721
        assert not isinstance(plain, Mapped)
    assert inspect.signature(socket.socket) == inspect.signature(
        socket.socket.__init__.__wrapped__.__get__(0)
    )


def test_leaves_everything_as_it_found_it():
    """After the tracker, every function and method is the one that was there before."""
    places = [(io, "open"), (os, "open"), (os, "pipe"), (socket.socket, "__init__"), (mmap, "mmap")]
    places += [(threading.Thread, "start"), (select.epoll, "__init__"), (sqlite3, "connect")]
    before = [getattr(owner, name) for owner, name in places]
    hooks = list(sys.meta_path)
    with Tracker():
        during = [getattr(owner, name) for owner, name in places]
    assert all(one is not other for one, other in zip(before, during, strict=True))
    assert [getattr(owner, name) for owner, name in places] == before
    assert sys.meta_path == hooks


def test_a_patch_that_the_program_made_meanwhile_stays(monkeypatch):
    """It may be meant to outlive the tracker: a fixture's of a wider scope than a test."""
    monkeypatch.setattr(threading.Thread, "start", threading.Thread.start)  # to be undone

    def start(thread):
        raise NotImplementedError

    with Tracker():
        threading.Thread.start = start
    assert threading.Thread.start is start


@pytest.mark.parametrize(
    ("owner", "name"),
    [(builtins, "open"), (os, "open"), (mmap, "mmap"), (threading.Thread, "start")],
)
def test_what_a_patch_puts_back_after_the_tracker_is_not_its_stand_in(owner, name, monkeypatch):
    """The patch was made over it, and ends under the next tracker."""
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, real)  # to be undone
    with Tracker():
        patch = mock.patch.object(owner, name)
        patch.start()
    with Tracker():
        patch.stop()
    found = vars(owner)[name]
    assert found is real


def test_a_patch_that_ends_under_no_tracker_hides_nothing_from_the_next():
    """It puts back the stand-in of a tracker that is gone, in one module only."""
    with Tracker():
        patch = mock.patch("builtins.open")
        patch.start()
    patch.stop()
    with Tracker() as tracker, Path(HERE).open():
        assert kinds_here(tracker) == ["file"]
    assert builtins.open is io.open


def test_trackers_that_end_in_another_order_leave_everything_as_it_was():
    """The inner one has stand-ins of the outer one, which is gone before, to put back."""
    before = threading.Thread.start, builtins.open
    outer, inner = Tracker(), Tracker()
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    after = threading.Thread.start, builtins.open
    assert all(one is other for one, other in zip(before, after, strict=True))


def test_trackers_nest():
    """A tracker within a tracker sees what is opened in its own time; the outer one sees all."""
    with Tracker() as outer:
        first = open(HERE)
        with Tracker() as inner:
            second = open(HERE)
            assert (kinds_here(outer), kinds_here(inner)) == (["file"] * 2, ["file"])
        close_all([first, second])
        assert kinds_here(outer) == []


def test_modules_imported_later_are_tracked(tmp_path):
    """A module that the program imports under the tracker is patched as it arrives."""
    program = (
        "import sys\n"
        "from harness.tracker import Tracker\n"
        "assert not {'sqlite3', 'asyncio'} & set(sys.modules)\n"
        "with Tracker() as tracker:\n"
        "    import sqlite3\n"
        f"    kept = sqlite3.connect({str(tmp_path / 'data')!r})\n"
        "    print([(each.kind, each.stack[0][1]) for each in tracker.open_resources()])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "[('sqlite3', 6)]\n", run.stderr


def test_an_object_without_weak_references_is_left_alone(tracker):
    """A transport made of slots only works as without the tracker."""
    transport = asyncio.BaseTransport({"peername": "here"})
    assert transport.get_extra_info("peername") == "here"


def test_the_owners_of_all_connections_are_found_in_one_look_at_the_heap(tmp_path, monkeypatch):
    """Each look takes milliseconds, and a leak may be of hundreds; no owner is kept by that."""
    looks = []
    real = survey.live_connections
    monkeypatch.setattr(survey, "live_connections", lambda: looks.append(1) or real())
    with Tracker() as tracker:
        connections = [sqlite3.connect(tmp_path / "data") for _ in range(5)]
        listed = [each for each in tracker.open_resources() if each.kind == "sqlite3"]
        looks.clear()
        owners = [each.owner() for each in listed]
        assert (owners, len(looks)) == (connections, 1)
        del owners
        connections.clear()
        gc.collect()  # a connection and its cache of statements are a cycle
        assert listed[0].owner() is None


def test_a_file_that_has_been_closed_owns_no_descriptor():
    """Perhaps by another thread, between two looks."""
    file = io.FileIO(HERE)
    assert file in [found() for found in survey._file_objects().values()]
    file.close()
    assert file not in [found() for found in survey._file_objects().values()]
