"""The debug server: aiohttp in a thread and an event loop of its own, alive also at EMFILE."""

import asyncio
import errno
import logging
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING

from .reserve import Reserve

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Middleware

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

NAME = "debug-server"
MAX_CONNECTIONS = 64
REQUEST_WITHIN_S = 10.0
"""A connection that has sent no whole request after this long is dropped."""
RETRY_S = 0.05


class Connection(socket.socket):
    """An accepted connection; its descriptor goes to the reserve first when that is spent."""

    def __init__(self, accepted: socket.socket, server: "DebugServer") -> None:
        super().__init__(fileno=accepted.detach())
        self.setblocking(False)
        self._server = server

    def close(self) -> None:
        """Close the connection, once; hand its descriptor on where it is needed."""
        descriptor = self.detach()
        if descriptor >= 0:
            self._server.closed(self, descriptor)


class DebugServer:
    """Serves `application` on `listener` until `stop`; each connection carries one request.

    The accept loop is ours, because asyncio's own pauses for a second at EMFILE: here the reserve
    is given up for the connection and taken back as it closes. What the server opens, it opens
    within `unwatched()`. Whoever counts descriptors holds `counted`: while it is held, none of the
    server's own is open that `connections` does not know.
    """

    def __init__(
        self,
        listener: socket.socket,
        reserve: Reserve,
        application: "web.Application",
        unwatched: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.port: int = listener.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self._listener = listener
        self._reserve = reserve
        self._application = application
        self._unwatched = unwatched
        self.counted = threading.Lock()
        self._connections: dict[Connection, asyncio.Transport | None] = {}
        self._serving: asyncio.Task[None] | None = None
        self._busy: set[asyncio.BaseTransport] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    def start(self) -> None:
        """Serve in a thread; return when connections are accepted."""
        self._application.middlewares.insert(0, self._mark_busy())
        self._application.on_response_prepare.append(_close_after)
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close every connection and the port, and wait for the thread."""
        if self._serving:
            self.loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def connections(self) -> int:
        """Return how many descriptors the server's own connections hold at this moment."""
        return len(self._connections)

    def closed(self, connection: Connection, descriptor: int) -> None:
        """Forget `connection`; close its descriptor, or keep it as the reserve."""
        with self.counted:
            self._connections.pop(connection, None)
            if not self._reserve.take_over(descriptor, self._listener.fileno()):
                socket.close(descriptor)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self._serving = self.loop.create_task(self._serve(), name=NAME)
        try:
            with self._unwatched(), suppress(asyncio.CancelledError):
                self.loop.run_until_complete(self._serving)
            self._end_the_rest()
        finally:
            self._listener.close()
            self.loop.close()

    def _end_the_rest(self) -> None:
        """Let what still waits on connections that were dropped end before its loop is closed."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    async def _serve(self) -> None:
        from aiohttp import web

        runner = web.AppRunner(
            self._application,
            access_log=None,
            logger=_logger(),
            shutdown_timeout=0.5,
            max_line_size=4096,
        )
        await runner.setup()
        self._ready.set()
        try:
            while True:
                await self._readable()
                await self._admit(runner)
        finally:
            await runner.cleanup()

    async def _readable(self) -> None:
        """Wait for a connection: `accept` itself fails at EMFILE even when nobody calls."""
        waiting: asyncio.Future[None] = self.loop.create_future()
        self.loop.add_reader(self._listener, _set, waiting)
        try:
            await waiting
        finally:
            self.loop.remove_reader(self._listener)

    async def _admit(self, runner: "web.AppRunner") -> None:
        self._make_room()
        with self.counted:
            accepted = self._accept()
            if accepted:
                connection = Connection(accepted, self)
                self._connections[connection] = None
        if accepted is None:
            await asyncio.sleep(RETRY_S)
            return
        assert runner.server is not None
        transport, _ = await self.loop.connect_accepted_socket(runner.server, connection)
        self._connections[connection] = transport
        self.loop.call_later(REQUEST_WITHIN_S, self._drop_unless_busy, connection)

    def _accept(self) -> socket.socket | None:
        try:
            return self._listener.accept()[0]
        except OSError as error:
            out = error.errno in (errno.EMFILE, errno.ENFILE)
            return self._accept() if out and self._reserve.give_up() else None

    def _make_room(self) -> None:
        """Drop the connection that has been waiting longest when there are too many."""
        if len(self._connections) < MAX_CONNECTIONS:
            return
        transports = [transport for transport in self._connections.values() if transport]
        oldest = next((each for each in transports if each not in self._busy), transports[0])
        oldest.abort()

    def _drop_unless_busy(self, connection: Connection) -> None:
        transport = self._connections.get(connection)
        if transport and transport not in self._busy:
            transport.abort()

    def _mark_busy(self) -> "Middleware":
        from aiohttp import web

        @web.middleware
        async def mark(request: web.Request, handler: "Handler") -> web.StreamResponse:
            transport = request.transport
            if transport is None:
                return await handler(request)
            self._busy.add(transport)
            try:
                return await handler(request)
            finally:
                self._busy.discard(transport)

        return mark


class _Briefly(logging.Handler):
    """Tells of a page that failed, in a line; of bytes that are no request, nothing.

    Whoever reaches the port can send those, and the lab's output is not theirs.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write what was raised, unless the one who asked was to blame, or has gone."""
        from aiohttp.http_exceptions import HttpProcessingError

        error = record.exc_info and record.exc_info[1]
        if error and not isinstance(error, (HttpProcessingError, ConnectionError)):
            sys.stderr.write(
                f"a page of the debug server failed: {type(error).__name__}: {error}\n"
            )


def _logger() -> logging.Logger:
    """Return the server's own logger, apart from those of the program."""
    made = logging.Logger(NAME)
    made.addHandler(_Briefly())
    return made


def _set(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


async def _close_after(_request: "web.Request", response: "web.StreamResponse") -> None:
    """Make each response the last of its connection: no descriptor waits for a next request."""
    response.force_close()
    response.headers["Connection"] = "close"
