"""A status checker that asks services how they are, and reports the answers of those that fail.

A response that nobody keeps gives its connection back as it is collected. Here `_failed` keeps
each failed one until somebody asks for the report, which wants its text; and a response that was
not read to its end keeps its connection.
"""

import aiohttp


class StatusChecker:
    """Checks services below the URL `base`; made where an event loop runs."""

    def __init__(self, base: str) -> None:
        self._session = aiohttp.ClientSession(base)
        self._failed: list[aiohttp.ClientResponse] = []

    async def check(self, service: str) -> bool:
        """Tell whether `service` answers with success; raise ClientError if it does not answer."""
        response = await self._session.get(f"/{service}")
        if not response.ok:
            self._failed.append(response)
        return response.ok

    async def report(self) -> list[str]:
        """Return path and text of each failed answer since the last report."""
        lines = [f"{response.url.path}: {await response.text()}" for response in self._failed]
        self._failed.clear()
        return lines

    async def close(self) -> None:
        """Close what is left of the session's connections."""
        await self._session.close()
