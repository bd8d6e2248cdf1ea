"""A catalogue whose visitors search a database, and page through what was found.

A result that was read to its end, and its connection closed, leaves the connection to the next.
Here `_searches` keeps each visitor's result for the next page, and few visitors look at the last:
the pool runs out of connections, and the database stays locked.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import CursorResult, create_engine, text

PAGE = 10
FIND = text("SELECT * FROM products WHERE kind = :kind ORDER BY id")


class Catalogue:
    """Searches the products in the SQLite file `path`, over at most `pool` connections."""

    def __init__(self, path: Path, pool: int) -> None:
        self._engine = create_engine(
            f"sqlite:///{path}", pool_size=pool, max_overflow=0, pool_timeout=0.1
        )
        self._searches: dict[int, CursorResult[Any]] = {}

    def search(self, visitor: int, kind: str) -> list[str]:
        """Return the first page of what there is of a kind."""
        self._searches[visitor] = self._engine.connect().execute(FIND, {"kind": kind})
        return self.more(visitor)

    def more(self, visitor: int) -> list[str]:
        """Return the next page of what `visitor` searched for; it is empty after the last."""
        return [row.name for row in self._searches[visitor].fetchmany(PAGE)]

    def close(self) -> None:
        """Forget all searches and close the connections."""
        self._searches.clear()
        self._engine.dispose()
