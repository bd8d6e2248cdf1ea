"""A real HTTP upstream on loopback that fails by plan, for the labs that are its clients."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

PROCESSING_S = 0.010
NO_TIMEOUT_S = 86400.0


def outage(number: int) -> bool:
    """Return whether request `number` (from 1) fails: every 4th of the first 150, then every 10th.

    An upstream in trouble that recovers in part: 12, 25 and 37 failures in 50, 100 and 150
    requests, 47 in 250.
    """
    return number % 4 == 0 if number <= 150 else number % 10 == 0


class Upstream:
    """Answers each request after `PROCESSING_S`, with 503 and `error_page` where `fails` says so.

    It hangs up connections that idle for `keepalive_s`, and counts requests and connections.
    """

    def __init__(
        self,
        fails: Callable[[int], bool],
        keepalive_s: float | None,
        error_page: str = "try again later",
    ) -> None:
        self.requests = 0
        self.connections = 0
        self._fails = fails
        self._error_page = error_page
        self._keepalive_s = keepalive_s or NO_TIMEOUT_S

    async def forget(self) -> None:
        """Start counting again, and the plan of failures with it, when all have hung up."""
        while self._server.connections:  # noqa: ASYNC110 - nobody says which was the last
            await asyncio.sleep(0.001)
        self.requests = self.connections = 0

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self.requests += 1
        number = self.requests
        await asyncio.sleep(PROCESSING_S)
        if self._fails(number):
            return web.Response(status=503, text=self._error_page)
        return web.json_response({"path": request.path})

    def _connected(self) -> web.RequestHandler:
        self.connections += 1
        return self._server()

    async def serve(self, listener: socket.socket) -> None:
        """Serve on `listener` until cancelled: one task per open connection, besides this one."""
        self._server = web.Server(
            self._answer, keepalive_timeout=self._keepalive_s, access_log=None
        )
        accepting = await asyncio.get_running_loop().create_server(self._connected, sock=listener)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            accepting.close()
            await self._server.shutdown(timeout=0.5)


@asynccontextmanager
async def running(upstream: Upstream, listener: socket.socket) -> AsyncIterator[None]:
    """Serve `upstream` in a task of this event loop for the body of the `async with`."""
    serving = asyncio.create_task(upstream.serve(listener), name="upstream")
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
