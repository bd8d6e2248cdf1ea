"""The debug server answers at EMFILE, drops who asks nothing, and leaves nothing behind."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

import psutil
import pytest
from aiohttp import web
from running import ROOT

from harness import ports, server
from harness.errors import UsageError
from harness.patience import Patience
from harness.probes import fds, tasks
from harness.reserve import Reserve
from harness.server import DebugServer

pytestmark = pytest.mark.usefixtures("collected")
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def serving(handler=None):
    """Serve one page with a reserve; yield the server."""

    async def hello(_request):
        return web.Response(text="hello")

    application = web.Application()
    application.router.add_get("/", handler or hello)
    reserve = Reserve()
    made = DebugServer(ports.listen(0, "--port"), reserve, application)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        reserve.close()


def ask(port, request=GET):
    """Send a request; return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
        caller.sendall(request)
        return b"".join(iter(lambda: caller.recv(4096), b""))


def wait_for(condition, within_s=10):
    """Wait until a condition holds."""
    assert Patience(within_s).until(condition)


def test_each_connection_carries_one_request():
    """No descriptor waits for a next one."""
    with serving() as made:
        for _ in range(3):
            answer = ask(made.port)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"Connection: close" in answer
            assert answer.endswith(b"hello")
        wait_for(lambda: made.connections() == 0)


def test_what_is_no_request_is_refused_without_a_word(capfd, caplog):
    """Whoever reaches the port can send bytes; the lab's output is not theirs."""
    with serving() as made:
        for rubbish in (b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\x02\r\n\r\n"):
            assert ask(made.port, rubbish).split()[1] == b"400"
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_server_that_stops_leaves_no_task_pending(capfd):
    """asyncio would say on stderr of each that it was destroyed."""
    made = DebugServer(ports.listen(0, "--port"), Reserve(), web.Application())
    made.start()
    waits = partial(made.loop.create_task, asyncio.sleep(60))
    made.loop.call_soon_threadsafe(waits)
    wait_for(lambda: len(asyncio.all_tasks(made.loop)) > 1)
    (task,) = (each for each in asyncio.all_tasks(made.loop) if each.get_coro().__name__ == "sleep")
    made.stop()
    assert task.cancelled()
    assert capfd.readouterr().err == ""


def test_a_page_that_fails_is_told_in_one_line(capfd):
    """A traceback in the middle of a lab's figures helps nobody."""

    async def failing(_request):
        raise KeyError("no such room")

    with serving(failing) as made:
        assert ask(made.port).startswith(b"HTTP/1.1 500")
    assert capfd.readouterr().err == "a page of the debug server failed: KeyError: 'no such room'\n"


def test_it_takes_five_descriptors_and_gives_all_back():
    """An event loop's three, the listening socket and the reserve: the guide's 8 less stdio."""
    with serving():
        pass
    before, threads = fds.count(), threading.active_count()
    with serving() as made:
        assert fds.count() == before + 5
        ask(made.port)
        wait_for(lambda: fds.count() == before + 5)
    assert fds.count() == before
    assert threading.active_count() == threads


def test_its_connections_are_known_so_that_they_can_be_left_out():
    """The observer is not in the picture."""
    with serving() as made:
        before = fds.count()
        with socket.create_connection(("127.0.0.1", made.port)):
            wait_for(lambda: made.connections() == 1)
            assert fds.count() == before + 2
            other = tasks.other_than(server.NAME, made.loop)
            wait_for(lambda: tasks.count(other) == 1)  # after the connection, by a moment
        wait_for(lambda: made.connections() == 0)


def test_a_half_sent_request_is_dropped(monkeypatch):
    """Who sends no whole request is let go, and the next is answered."""
    with serving() as made:
        with monkeypatch.context() as patch:
            patch.setattr(server, "REQUEST_WITHIN_S", 0.2)
            address = "127.0.0.1", made.port
            with (
                socket.create_connection(address, timeout=30) as slow,
                pytest.raises(ConnectionError),
            ):
                slow.sendall(GET[:20])
                slow.recv(1) or reset()
        wait_for(lambda: made.connections() == 0)
        assert ask(made.port).endswith(b"hello")


def reset():
    """Take an orderly end of a dropped connection for what it is."""
    raise ConnectionResetError


def test_idle_connections_make_room():
    """With more than 64 of them the oldest go; a request is answered all the same."""
    with serving() as made:
        address = "127.0.0.1", made.port
        idle = [socket.create_connection(address, timeout=10) for _ in range(100)]
        wait_for(lambda: made.connections() == server.MAX_CONNECTIONS)
        assert ask(made.port).endswith(b"hello")
        assert made.connections() <= server.MAX_CONNECTIONS
        for caller in idle:
            caller.close()
        wait_for(lambda: made.connections() == 0)


def test_a_request_that_is_being_answered_is_not_dropped_for_idle_ones():
    """Whoever asked gets the answer."""
    go_on = threading.Event()

    async def slow(_request):
        while not go_on.is_set():
            await server.asyncio.sleep(0.01)
        return web.Response(text="at last")

    with serving(slow) as made:
        address = "127.0.0.1", made.port
        with socket.create_connection(address, timeout=10) as caller:
            caller.sendall(GET)
            wait_for(lambda: len(made._busy) == 1)
            idle = [socket.create_connection(address, timeout=10) for _ in range(80)]
            wait_for(lambda: made.connections() == server.MAX_CONNECTIONS)
            go_on.set()
            answer = b"".join(iter(lambda: caller.recv(4096), b""))
        assert answer.endswith(b"at last")
        for each in idle:
            each.close()


@pytest.mark.parametrize(
    "request_text",
    [
        b"\0\1\2\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
    ],
    ids=["rubbish", "endless", "post"],
)
def test_rubbish_is_answered_and_the_next_request_too(request_text):
    """With an error status, not with the server's end."""
    with serving() as made:
        with suppress(ConnectionError):  # it was let go before it had said all
            assert re.match(rb"HTTP/1\.\d 4\d\d", ask(made.port, request_text))
        assert ask(made.port).endswith(b"hello")


def test_ten_requests_with_no_descriptor_left():
    """A process that has used up its limit is asked ten times, one after another."""
    code = """
import os, sys
sys.path.insert(0, "tests")
from test_serving import serving
from harness.limits import limited
from harness.probes import fds
with serving() as made, limited(fds.count() + 20):
    kept = []
    try:
        while True:
            kept.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        print(made.port, error.errno, flush=True)
    sys.stdin.readline()
    try:
        kept.append(os.open(os.devnull, os.O_RDONLY))
        print("a descriptor was free")
    except OSError as error:
        print(error.errno)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        port, number = map(int, process.stdout.readline().split())
        assert number == 24
        for _ in range(10):
            assert ask(port).endswith(b"hello")
        time.sleep(0.1)
        assert process.communicate("\n", timeout=30)[0] == "24\n"


def test_a_lab_that_has_run_out_still_answers(place):
    """`--hold` keeps it at its limit; its pages are there."""
    started = place.start("--leaky", "--ulimit=64", "--rate=500", "--port=0", "--hold")
    port = int(started.see(r"localhost:(\d+)")[1])
    started.see("Errno 24")
    started.see("anon_inode")
    wait_for(lambda: fds.count(started.pid) == 64)
    for _ in range(10):
        page = GET.replace(b"GET /", b"GET /debug/pprof/")
        assert ask(port, page).startswith(b"HTTP/1.1 200")
    wait_for(lambda: fds.count(started.pid) == 64)
    started.process.send_signal(2)
    assert started.end().status == 130


def test_only_the_loopback_interface_is_listened_on():
    """What a run shows of itself is not for the network."""
    with serving() as made:
        listening = [
            each.laddr.ip
            for each in psutil.Process().net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr.port == made.port
        ]
    assert listening == ["127.0.0.1"]


def test_a_port_in_use_names_who_holds_it():
    """The process's name and pid."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        name = psutil.Process().name()
        with pytest.raises(UsageError) as raised:
            ports.listen(port, "--door")
    assert str(raised.value) == (
        f"--door {port}: in use by {name} (pid {os.getpid()}); "
        "choose another with --door (0: any free port)"
    )


def test_a_port_that_a_connection_goes_out_from_is_told_as_that():
    """Systems give those out at random, also one that somebody wants to listen on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        # from a port that it has to itself: others may connect from the same to another server
        socket.create_connection(server.getsockname(), source_address=("127.0.0.1", 0)) as client,
        pytest.raises(UsageError, match=rf": in use by a connection of .* \(pid {os.getpid()}\);"),
    ):
        ports.listen(client.getsockname()[1], "--door")


def test_an_address_that_is_not_ours_is_told():
    """192.0.2.1 is for documentation (RFC 5737)."""
    with pytest.raises(UsageError, match=r"--port 0: cannot listen on 192\.0\.2\.1: Cannot assign"):
        ports.listen(0, "--port", "192.0.2.1")


def test_no_descriptor_is_left_of_a_port_that_was_in_use():
    """The socket that failed is closed."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = fds.count()
        with pytest.raises(UsageError):
            ports.listen(taken.getsockname()[1], "--port")
        assert fds.count() == before


def test_thousands_of_idle_connections_do_not_disturb_a_lab(place):
    """Its counts stay exact, they are not in its picture, and its pages answer all the while."""
    started = place.start("--fixed", "--rate=100", "--report-every=0.5", "--forever", "--port=0")
    address = "127.0.0.1", int(started.see(r"localhost:(\d+)")[1])
    started.see("START")
    with ExitStack() as idle:
        for number in range(2000):
            idle.enter_context(socket.create_connection(address, timeout=10))
            if number % 400 == 399:
                page = ask(address[1], GET.replace(b"GET /", b"GET /debug/pprof/"))
                assert page.startswith(b"HTTP/1.1 200")
        started.see("Files opened: 150 ")
        started.process.send_signal(signal.SIGTERM)
        run = started.end()
    on_time = run.out.partition("Interrupted")[0].splitlines()
    figures = [line.partition("] ")[2] for line in on_time if line.startswith("[AFTER")]
    assert figures == [
        f"Open FDs: 8  |  Files opened: {n}  |  Files closed: {n}"
        for n in range(50, 50 * len(figures) + 1, 50)
    ]
    assert (run.status, run.err) == (143, "")
