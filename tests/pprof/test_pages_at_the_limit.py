"""The pages on the debug server of a lab: its counts, and its life with no descriptor left."""

import errno
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import canned
import pytest

from harness.index import application
from harness.page.live import Live
from harness.pprof.proto import decode
from harness.probes import tasks
from harness.reserve import Reserve
from harness.server import MAX_CONNECTIONS, NAME, DebugServer
from tests.pprof import programs
from tests.pprof.conftest import Server
from tests.pprof.programs import LoopThread


@pytest.fixture
def debug_server() -> Iterator[DebugServer]:
    """Run a lab's debug server on a free port until the test ends."""
    reserve = Reserve()
    pages = application(dict, list, Live(canned.LAB), lambda _: [])
    server = DebugServer(socket.create_server(("127.0.0.1", 0)), reserve, pages)
    server.start()
    yield server
    server.stop()
    reserve.close()


@contextmanager
def no_descriptor_left(spare: int) -> Iterator[None]:
    """Take up all descriptors but `spare` of them until the block ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
    held: list[int] = []
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            while True:
                held.append(os.dup(2))
        for number in held[:spare]:
            os.close(number)
        del held[:spare]
        yield
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("nothing_is_collected")
def test_ten_requests_in_a_row_with_no_descriptor_left(debug_server: DebugServer) -> None:
    """The client has the one that it needs, the server none; the index says what is the matter."""
    server = Server(debug_server.port)
    live = Server(debug_server.port, root="/")
    pages = ["", "goroutine", "goroutine?debug=1", "goroutine?debug=2", "fd", "fd?debug=1"]
    pages += ["socket", "threadcreate", "ui", ""]
    live_pages = ["", "page/page.js", "page/run.json", "page/open.json", "metrics"]
    with no_descriptor_left(spare=1):
        answers = [server.get(page) for page in pages]
        live_answers = [live.get(page) for page in live_pages]
    assert [answer.status for answer in answers] == [200] * 10
    assert [answer.status for answer in live_answers] == [200] * 5
    assert "has run out of file descriptors" in answers[0].text
    assert "has run out of file descriptors" in answers[-1].text


def test_the_count_is_that_of_the_console(debug_server: DebugServer, program: LoopThread) -> None:
    """Tasks as the console counts them, also while other connections have sent half a request."""
    for number in range(5):
        program.start(programs.sleeps, f"probed-{number}")
    server = Server(debug_server.port)
    console = tasks.count(tasks.other_than(NAME, debug_server.loop))
    with ExitStack() as stack:
        for _ in range(4):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", debug_server.port)))
            half.sendall(b"GET /debug/pprof/ HT")
        profile = decode(server.get("goroutine").body)
    labels = [dict(sample.labels) for sample in profile.samples]
    assert [each["kind"] for each in labels].count("task") == console
    assert NAME in {each["name"] for each in labels}


def test_the_program_keeps_its_pace_under_a_crowd(
    debug_server: DebugServer, program: LoopThread
) -> None:
    """Five hundred connections that say nothing are let go of, and the pages still answer."""
    address = "127.0.0.1", debug_server.port
    with ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(address)) for _ in range(500)]
        programs.wait_until(lambda: all(map(is_closed, crowd[:-MAX_CONNECTIONS])))
        begin = time.monotonic()
        assert Server(debug_server.port).get("goroutine?debug=1").status == 200
        program.start(programs.sleeps, "probed")
        assert time.monotonic() - begin < 5


def is_closed(connection: socket.socket) -> bool:
    """Tell whether the other end has let go of a connection on which it has said nothing."""
    try:
        return connection.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
