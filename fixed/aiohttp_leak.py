"""A status checker that asks services how they are, and reports the answers of those that fail.

The text of a failed answer is read at once, and kept for the report as text. `async with` closes
the response on every path, and one that was read to its end leaves its connection to the next.
"""

import aiohttp


class StatusChecker:
    """Checks services below the URL `base`; made where an event loop runs."""

    def __init__(self, base: str) -> None:
        self._session = aiohttp.ClientSession(base)
        self._failed: list[str] = []

    async def check(self, service: str) -> bool:
        """Tell whether `service` answers with success; raise ClientError if it does not answer."""
        async with self._session.get(f"/{service}") as response:
            if not response.ok:
                self._failed.append(f"{response.url.path}: {await response.text()}")
            return response.ok

    async def report(self) -> list[str]:
        """Return path and text of each failed answer since the last report."""
        lines = list(self._failed)
        self._failed.clear()
        return lines

    async def close(self) -> None:
        """Close what is left of the session's connections."""
        await self._session.close()
