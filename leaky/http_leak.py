"""A gateway that passes requests on to an upstream service through one pooled httpx client.

A response that is dropped is collected like any object, but the connection is not the response's:
the pool owns it, and counts it as in use until the body was read to its end or the response was
closed. The error path here does neither, so each failed request costs a connection for ever.
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
        limits = httpx.Limits(max_connections=pool)
        self._client = httpx.AsyncClient(base_url=upstream, limits=limits)

    async def fetch(self, path: str) -> bytes:
        """Return the body at `path`; raise UpstreamError when the upstream fails."""
        request = self._client.build_request("GET", path)
        response = await self._client.send(request, stream=True)
        if response.is_error:
            raise UpstreamError(response.status_code)
        return await response.aread()

    async def close(self) -> None:
        """Close the client and its pool."""
        await self._client.aclose()
