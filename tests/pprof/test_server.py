"""The pages of the debug server, asked as curl and a browser ask them."""

import asyncio
import errno
import os
import re
import resource
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.clock import ManualClock
from harness.pprof.aside import aside
from harness.pprof.descriptors import Descriptor, fd_profile
from harness.pprof.goroutines import OBSERVER
from harness.pprof.profile import Profile, column
from harness.pprof.proto import decode
from harness.pprof.sampler import Sampler, processor_time_ns, sample_for
from tests.pprof import programs
from tests.pprof.conftest import Server
from tests.pprof.programs import LoopThread


def names(server: Server, path: str = "goroutine") -> list[str]:
    """Return the names of what a profile shows."""
    profile = decode(server.get(path).body)
    return [str(dict(sample.labels)["name"]) for sample in profile.samples]


def test_a_profile_has_gos_headers(server: Server) -> None:
    """An octet stream to be saved under the profile's name, never guessed at by a browser."""
    answer = server.get("goroutine")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="goroutine"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert server.get("goroutine?debug=1").headers["Content-Type"] == "text/plain; charset=utf-8"


def test_tasks_are_counted_and_grouped(server: Server, program: LoopThread) -> None:
    """Seven tasks that wait alike are one line with a 7, and a line for each call."""
    before = len(names(server))
    for number in range(7):
        program.start(programs.iterates, f"probed-{number}")
    text = server.get("goroutine?debug=1").text
    assert text.startswith(f"goroutine profile: total {before + 7}\n7 @ 0x")
    assert '# labels: {"kind":"task", "thread":"program", "state":"chan receive"}' in text
    assert "programs.generated+0x" in text
    assert f"\t{programs.__file__}:" in text


def test_the_dump_shows_states_as_go_does(server: Server, program: LoopThread) -> None:
    """One block for each, its state in the head, what it waits on at its end."""
    program.start(programs.receives_from_queue, "probed")
    blocks = server.get("goroutine?debug=2").text.split("\n\n")
    (block,) = [each for each in blocks if "task probed" in each]
    lines = block.splitlines()
    assert lines[0].startswith("goroutine ")
    assert lines[0].endswith(" [chan receive]:")
    assert lines[1] == "asyncio.queues.Queue.get(...)"
    assert lines[-1] == "# task probed in program, waits on Queue.get"
    assert any("event loop program" in each for each in blocks)


@pytest.mark.usefixtures("nothing_is_collected")
def test_the_server_does_not_see_itself(server: Server) -> None:
    """Asking again and again changes no count: neither its tasks nor its connections show."""
    first = {kind: len(names_of(server, kind)) for kind in ("goroutine", "threadcreate", "fd")}
    with socket.create_connection(("127.0.0.1", server.port)) as held:
        held.sendall(b"GET /debug/pprof/cmdline HTTP/1.1\r\nHost: localhost\r\n\r\n")
        held.recv(1000)
        fds = names_of(server, "fd")
    assert len(names_of(server, "goroutine")) == first["goroutine"]
    assert "harness.pprof" not in server.get("goroutine?debug=2").text
    assert len(names_of(server, "threadcreate")) == first["threadcreate"]
    assert len(fds) == first["fd"] + 1  # the client's end, which is the test's own


def names_of(server: Server, kind: str) -> list[object]:
    """Return the samples of a profile."""
    return list(decode(server.get(kind).body).samples)


@pytest.mark.usefixtures("nothing_is_collected")
def test_open_files_and_sockets_are_shown(server: Server, tmp_path: Path) -> None:
    """A file is under its directory, a socket under its state, each with its number."""
    before = len(names_of(server, "fd"))
    with (
        (tmp_path / "logfile_1.txt").open("w") as file,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        fds = decode(server.get("fd").body)
        sockets = server.get("socket?debug=1").text
        labels = [dict(sample.labels) for sample in fds.samples]
        mine = next(each for each in labels if each["fd"] == file.fileno())
        port = listener.getsockname()[1]
    assert len(fds.samples) == before + 2
    assert mine["target"] == str(tmp_path / "logfile_1.txt")
    assert "#\t0x" in sockets
    assert f"tcp 127.0.0.1:{port}\n" in sockets
    assert "LISTEN" in sockets


def test_sockets_of_every_family_are_shown(server: Server, tmp_path: Path) -> None:
    """Datagrams, paths, IPv6 and, on Linux, netlink: each under its kind."""
    with ExitStack() as stack:
        for family, kind in ((socket.AF_INET, "DGRAM"), (socket.AF_UNIX, "STREAM")):
            sock = stack.enter_context(socket.socket(family, getattr(socket, f"SOCK_{kind}")))
            path = str(tmp_path / "here.sock")
            sock.bind(path if family == socket.AF_UNIX else ("127.0.0.1", 0))
        kinds = {"udp", "unix"}
        if sys.platform == "linux":
            stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 4)).bind((0, 0))
            kinds.add("netlink")
        samples = decode(server.get("socket").body).samples
    labels = [dict(sample.labels) for sample in samples]
    assert kinds <= {each["kind"] for each in labels}
    assert path in {each["target"] for each in labels}


def test_looking_at_sockets_changes_none(server: Server) -> None:
    """A blocking socket stays blocking, also where the program has set a default timeout."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(True)
        socket.setdefaulttimeout(7)
        try:
            assert server.get("socket").status == 200
        finally:
            socket.setdefaulttimeout(None)
        assert os.get_blocking(near.fileno())
        assert near.send(b"still open") == 10


class Turned:
    """In the place of `asyncio.sleep`: `seconds` of it pass when the test says so."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sleep = asyncio.sleep
        self.begun = threading.Event()
        self.over = threading.Event()

    async def __call__(self, seconds: float, *result: object) -> object:
        """Sleep, if these are the seconds until they are over."""
        if seconds != self._seconds:
            return await self._sleep(seconds, *result)
        self.begun.set()
        while not self.over.is_set():
            await self._sleep(0.005)
        return None


def test_seconds_shows_what_came_and_went(
    server: Server, program: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that begins within the time is +1, one that ends is -1, the others are nothing."""
    gone = program.start(programs.sleeps, "gone")
    program.start(programs.sleeps, "stays")
    time_of_request = Turned(0.4)
    monkeypatch.setattr(asyncio, "sleep", time_of_request)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(server.get("goroutine?seconds=0.4")))
    asking.start()
    assert time_of_request.begun.wait(programs.HANGS_S)
    program.loop.call_soon_threadsafe(gone.cancel)
    program.start(programs.sleeps, "came")
    time_of_request.over.set()
    asking.join()
    assert answers[0].headers["Content-Disposition"].endswith('"goroutine-delta"')
    changed = {
        dict(sample.labels)["name"]: sample.values[0] for sample in decode(answers[0].body).samples
    }
    assert changed["came"] == 1
    assert changed["gone"] == -1
    assert "stays" not in changed


def test_heap_says_how_to_turn_it_on_and_then_shows_lines(server: Server) -> None:
    """Without tracemalloc a 409 with instructions; with it the line that holds the memory."""
    refused = server.get("heap")
    assert refused.status == 409
    assert "--tracemalloc 16" in refused.text
    tracemalloc.start(4)
    try:
        kept = [bytes(1000) for _ in range(1000)]
        profile = decode(server.get("heap").body)
    finally:
        tracemalloc.stop()
    assert [value_type.type for value_type in profile.types] == ["inuse_objects", "inuse_space"]
    mine = [sample for sample in profile.samples if "test_server.py" in sample.stack[0].function]
    assert max(sample.values[1] for sample in mine) >= sum(map(len, kept))


@contextmanager
def one_computes_one_waits() -> Iterator[threading.Thread]:
    """Run two threads until the block ends; yield the one that computes."""
    end = threading.Event()

    def compute() -> None:
        while not end.is_set():
            sum(range(1000))

    threads = [
        threading.Thread(target=compute, name="computes"),
        threading.Thread(target=end.wait, name="waits"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield threads[0]
    finally:
        end.set()
        for thread in threads:
            thread.join()


def spent(profile: Profile, thread: str) -> list[int]:
    """Return how often a thread was seen, its wall time and its processor time, in ns."""
    seen = [each.values for each in profile.samples if ("thread", thread) in each.labels]
    return [sum(values) for values in zip(*seen, strict=True)]


def test_the_sampler_finds_the_busy_thread(server: Server) -> None:
    """Of two threads the one that computes has the processor time, the other only the clock's."""
    with one_computes_one_waits():
        profile = decode(server.get("profile?seconds=0.4").body)
    assert [value_type.type for value_type in profile.types] == ["samples", "wall", "cpu"]
    assert profile.duration_ns >= 0.4e9
    assert {"compute", "Event.wait"} <= called(profile)
    computes, waits = spent(profile, "computes"), spent(profile, "waits")
    assert computes[1] >= 0.4e9
    assert waits[1] >= 0.4e9
    if sys.platform == "linux":
        assert computes[column(profile)] > waits[column(profile)]


def called(profile: Profile) -> set[str]:
    """Return the functions in a profile as their classes know them."""
    names = (frame.function for sample in profile.samples for frame in sample.stack)
    return {name.removeprefix("threading.").rpartition("<locals>.")[2] for name in names}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell it")
def test_processor_time_is_the_threads_own() -> None:
    """Between two looks a thread that computes gets what it has used, one that waits nothing."""
    with one_computes_one_waits() as thread:
        before_ns = processor_time_ns(thread.native_id)
        sampler = Sampler()
        began_ns = processor_time_ns(thread.native_id)
        programs.wait_until(lambda: processor_time_ns(thread.native_id) > began_ns + 60_000_000)
        sampler.sample(100_000_000)
        after_ns = processor_time_ns(thread.native_id)
    profile = sampler.profile(0, 100_000_000)
    computes, waits = spent(profile, "computes"), spent(profile, "waits")
    assert waits[2] < 50_000_000
    assert 60_000_000 <= computes[2] <= after_ns - before_ns
    assert computes[:2] == waits[:2] == [1, 100_000_000]


def test_threads_are_looked_at_a_hundred_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is late: forty looks in 0.4 s, each with 10 ms."""
    clock = ManualClock()
    never = SimpleNamespace(wait=lambda seconds: clock.wait_until(clock.now_s() + seconds))
    now_ns = SimpleNamespace(
        time_ns=lambda: 0,
        monotonic_ns=lambda: round(clock.now_s() * 1e9),
        clock_gettime_ns=time.clock_gettime_ns,
    )
    monkeypatch.setattr("harness.pprof.sampler.time", now_ns)
    with one_computes_one_waits():
        profile = sample_for(0.4, never)
    assert profile.duration_ns == 400_000_000
    assert spent(profile, "waits")[:2] == [40, 400_000_000]


def test_one_profile_is_taken_at_a_time_and_given_up_with_its_reader(server: Server) -> None:
    """A second is refused while the first is taken, and not once its reader has gone."""
    with socket.create_connection(("127.0.0.1", server.port)) as reader:
        path = "profile?seconds=600"
        reader.sendall(f"GET /debug/pprof/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        programs.wait_until(is_sampling)
        assert server.get("profile?seconds=0.01").status == 429
    programs.wait_until(lambda: server.get("profile?seconds=0.01").status == 200)


def is_sampling() -> bool:
    """Tell whether a thread of the server takes a profile."""
    return any(thread.name.startswith(OBSERVER) for thread in threading.enumerate())


def test_a_descriptor_is_under_the_stack_that_opened_it() -> None:
    """Where someone remembers it; the others are under their kind and place."""
    found = [
        Descriptor(9, "file", "/tmp/a/x", "/tmp/a"),
        Descriptor(3, "file", "/tmp/b/y", "/tmp/b"),
    ]
    opened = {9: (("leaky/file_leak.py", 21, "process"), ("labs/file_leak.py", 9, "work"))}
    first, second = fd_profile(found, lambda: opened).samples
    assert [(each.function, each.line) for each in first.stack] == [("process", 21), ("work", 9)]
    assert [each.function for each in second.stack] == ["/tmp/b", "file"]


def test_cmdline_and_symbol(server: Server) -> None:
    """The words of the command, and no addresses to look up."""
    assert server.get("cmdline").text.split("\0") == sys.orig_argv
    assert server.get("symbol").text == "num_symbols: 0\n"


def test_the_index_counts_and_explains(server: Server) -> None:
    """Each kind has its count, its links and a line that says what it is."""
    page = server.get("").text
    total = len(names_of(server, "goroutine"))
    assert f'<td>{total}</td><td><a href="goroutine">' in page
    assert "Every open descriptor" in page
    assert '<td>off</td><td><a href="heap">' in page
    assert "run out" not in page


def test_a_flame_graph_is_drawn_without_anything_from_elsewhere(
    server: Server, program: LoopThread
) -> None:
    """The page has its boxes; script and style come from this server alone."""
    program.start(programs.iterates, "probed")
    page = server.get("ui?profile=goroutine").text
    assert "programs.generated: 1 goroutine," in page
    assert re.search(r"<p>Total: ([2-9]|\d\d+) goroutines\.", page)
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert server.get("ui.js").headers["Content-Type"].startswith("text/javascript")
    assert server.get("ui.css").status == 200
    assert "--tracemalloc 16" in server.get("ui?profile=heap").text


@pytest.mark.usefixtures("nothing_is_collected")
def test_with_no_descriptor_left_the_pages_still_answer(server: Server) -> None:
    """The index says that the process has run out, and the list of descriptors is whole."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        assert b"200 OK" in ask(connection, "cmdline")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/dev/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
        held: list[int] = []
        try:
            with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
                while True:
                    held.append(os.dup(2))
            pages = [
                ask(connection, path) for path in ("", "fd?debug=1", "goroutine?debug=2", "ui")
            ]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for number in held:
                os.close(number)
    assert all(b"200 OK" in page for page in pages)
    assert b"has run out of file descriptors" in pages[0]
    assert int(pages[1].partition(b"fd profile: total ")[2].split()[0]) > len(held)


def ask(connection: socket.socket, path: str) -> bytes:
    """Ask for a page on a connection that is open already, and read the whole answer."""
    connection.sendall(f"GET /debug/pprof/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + body


def test_a_look_that_another_one_broke_is_made_again() -> None:
    """Two looks at the heap at once may end in a SystemError of Python's."""
    looks = iter([SystemError("bad argument to internal function"), None])

    def look() -> str:
        if error := next(looks):
            raise error
        return "seen"

    assert asyncio.run(aside(look)) == "seen"
