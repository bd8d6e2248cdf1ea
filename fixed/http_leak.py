"""A gateway that passes requests on to an upstream service through one pooled httpx client.

`async with` closes the response on every path, the error path too; the body is read first, so that
the connection can carry the next request. The pool keeps no more idle connections than the traffic
needs, and waiting for one has a timeout of its own: should something leak after all, requests fail
soon and say why.
"""

import httpx


class UpstreamError(Exception):
    """The upstream answered with an error status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"upstream answered {status}")
        self.status = status


class Gateway:
    """Fetches from `upstream` (a base URL) over at most `pool` connections."""

    def __init__(self, upstream: str, pool: int = 100) -> None:
        limits = httpx.Limits(max_connections=pool, max_keepalive_connections=2)
        timeout = httpx.Timeout(5.0, pool=1.0)
        self._client = httpx.AsyncClient(base_url=upstream, limits=limits, timeout=timeout)

    async def fetch(self, path: str) -> bytes:
        """Return the body at `path`; raise UpstreamError when the upstream fails."""
        async with self._client.stream("GET", path) as response:
            body = await response.aread()
        if response.is_error:
            raise UpstreamError(response.status_code)
        return body

    async def close(self) -> None:
        """Close the client and its pool."""
        await self._client.aclose()
