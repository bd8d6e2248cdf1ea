"""A catalogue whose visitors search a database, and page through what was found.

A visitor's place is a name and a number. Each page is a query of its own, read to its end inside
`with`, which gives the connection back before the page is shown.
"""

from pathlib import Path

from sqlalchemy import create_engine, text

PAGE = 10
FIND = text("SELECT * FROM products WHERE kind = :kind AND id > :after ORDER BY id LIMIT :page")


class Catalogue:
    """Searches the products in the SQLite file `path`, over at most `pool` connections."""

    def __init__(self, path: Path, pool: int) -> None:
        self._engine = create_engine(
            f"sqlite:///{path}", pool_size=pool, max_overflow=0, pool_timeout=0.1
        )
        self._searches: dict[int, tuple[str, int]] = {}

    def search(self, visitor: int, kind: str) -> list[str]:
        """Return the first page of what there is of a kind."""
        self._searches[visitor] = kind, 0
        return self.more(visitor)

    def more(self, visitor: int) -> list[str]:
        """Return the next page of what `visitor` searched for; it is empty after the last."""
        kind, after = self._searches[visitor]
        with self._engine.connect() as connection:
            found = connection.execute(FIND, {"kind": kind, "after": after, "page": PAGE}).all()
        self._searches[visitor] = kind, found[-1].id if found else after
        return [row.name for row in found]

    def close(self) -> None:
        """Forget all searches and close the connections."""
        self._searches.clear()
        self._engine.dispose()
