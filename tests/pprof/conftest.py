"""A debug server on a free port, in a thread of its own, as a lab has one."""

import gc
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from harness.collector import no_collection
from harness.pprof.routes import add_routes
from tests.pprof.programs import HANGS_S, LoopThread, loop_thread


@dataclass
class Answer:
    """What came back: status, headers and body."""

    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        """The body, decoded."""
        return self.body.decode()


@dataclass
class Server:
    """The server's port, and a way to ask it."""

    port: int
    root: str = "/debug/pprof/"

    @property
    def base(self) -> str:
        """The address of its pages."""
        return f"http://127.0.0.1:{self.port}{self.root}"

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Ask for `path` below the root; errors are answers too."""
        request = urllib.request.Request(self.base + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=HANGS_S) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.headers, error.read())

    def raw(self, text: str) -> bytes:
        """Send `text` as it is, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=HANGS_S) as connection:
            connection.sendall(text.encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def server() -> Iterator[Server]:
    """Serve the pages until the test ends."""
    with loop_thread(name="debug-server-loop") as thread:
        runner, port = thread.run(_begin())
        yield Server(port)
        thread.run(runner.cleanup())


async def _begin() -> tuple[web.AppRunner, int]:
    app = web.Application()
    add_routes(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1]


@pytest.fixture
def program() -> Iterator[LoopThread]:
    """A program's event loop to start tasks in."""
    with loop_thread() as thread:
        yield thread


@pytest.fixture
def nothing_is_collected() -> Iterator[None]:
    """Let the garbage collector close now what other tests left open, and nothing in the test."""
    gc.collect()
    with no_collection():
        yield
