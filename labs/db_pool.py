"""Lab 15: a catalogue keeps a result for each visitor's next page. `python -m labs.db_pool`."""

import gc
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import table
from harness.cli import main
from harness.errors import UsageError
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Option, Setting, Workload

from .extras import needs

with needs("sqlalchemy", "db", __name__, "labs.db_pool"):
    from fixed import db_pool as fixed
    from leaky import db_pool as leaky

SEARCHES = Gauge("app_searches_total", "Searches", "Searches")
POOL = Option(
    "--pool",
    "connections that the catalogue's pool may hold",
    "--leaky --pool 3",
    default=1000,
    minimum=1,
)
TEAS = [f"tea {number}" for number in range(25)]


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Let one visitor more look at the first page per operation."""
    path, searches = stocked(setting.directory), 0
    with opened(subject, path, int(setting.options[POOL.key] or 1)) as catalogue:

        def search(visitor: int) -> object:
            nonlocal searches
            searches += 1
            with refusals_named(path):
                return catalogue.search(visitor, "tea")

        yield Workload(search, {SEARCHES: lambda: searches})


@contextmanager
def refusals_named(path: Path) -> Iterator[None]:
    """Let the operating system say why it refuses to open a database; SQLite does not.

    Raises:
        OSError: no file can be opened any more.
    """
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OperationalError:
        path.open("rb").close()
        raise


@contextmanager
def opened(subject: ModuleType, path: Path, pool: int) -> Iterator[Any]:
    """Yield a catalogue; close it, and free what it left: results are in cycles, so is a pool."""
    catalogue = subject.Catalogue(path, pool)
    try:
        yield catalogue
    finally:
        catalogue.close()
        for _ in range(3):
            gc.collect()


def stocked(directory: Path) -> Path:
    """Make a database with products of two kinds, and return its file.

    Raises:
        UsageError: SQLite cannot write it, for want of room.
    """
    path = directory / "products.db"
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE products (id INTEGER PRIMARY KEY, kind TEXT, name TEXT)")
            for tea in TEAS:
                add_product(database, "tea", tea)
                add_product(database, "cup", f"cup for {tea}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise UsageError(f"{path}: {error}; set TMPDIR to a folder with room") from error
        raise
    return path


def add_product(database: sqlite3.Connection, kind: str, name: str) -> None:
    """Insert a product."""
    database.execute("INSERT INTO products (kind, name) VALUES (?, ?)", (kind, name))


def pages_follow_each_other(subject: ModuleType, directory: Path) -> str | None:
    """A visitor sees every product of a kind once, in order, page after page."""
    with opened(subject, stocked(directory), 2) as catalogue:
        pages = [catalogue.search(1, "tea"), *(catalogue.more(1) for _ in range(3))]
    wanted = [TEAS[:10], TEAS[10:20], TEAS[20:], []]
    if pages == wanted:
        return None
    return (
        f"of {len(TEAS)} teas the pages hold {[len(page) for page in pages]}, beginning with "
        f"{[page[:1] for page in pages]}; search gives the first 10 and each more the next"
    )


def visitors_do_not_disturb_each_other(subject: ModuleType, directory: Path) -> str | None:
    """Each visitor goes on where he was, however many others have searched since."""
    with opened(subject, stocked(directory), 100) as catalogue:
        for visitor in range(20):
            catalogue.search(visitor, "tea" if visitor % 2 else "cup")
        got = [catalogue.more(visitor)[:1] for visitor in (1, 0, 1)]
    if got == [TEAS[10:11], [f"cup for {TEAS[10]}"], TEAS[20:21]]:
        return None
    return f"of 20 visitors the first two went on with {got}; keep each one's place"


def few_connections_are_enough(subject: ModuleType, directory: Path) -> str | None:
    """Two connections serve five visitors, none of whom looks at the last page."""
    from sqlalchemy.exc import TimeoutError as PoolTimeout

    with opened(subject, stocked(directory), 2) as catalogue:
        for visitor in range(1, 6):
            try:
                page = catalogue.search(visitor, "tea")
            except PoolTimeout:
                return (
                    f"visitor {visitor} waited in vain for one of 2 connections, which visitors "
                    "before have; give each back with its page"
                )
            if page != TEAS[:10]:
                return f"visitor {visitor} of 5 got {page} from a pool of 2 connections"
    return None


def the_shop_can_add_products(subject: ModuleType, directory: Path) -> str | None:
    """The database can be written to while visitors are between two pages."""
    path = stocked(directory)
    with (
        opened(subject, path, 2) as catalogue,
        closing(sqlite3.connect(path, timeout=0.05)) as shop,
    ):
        catalogue.search(1, "tea")
        try:
            with shop:
                add_product(shop, "tea", "new tea")
        except sqlite3.OperationalError as error:
            return (
                f"a product could not be added while a visitor looked at a page: {error}; a result "
                "that is half read keeps its lock: read each to its end"
            )
    return None


def errors_give_their_connection_back(subject: ModuleType, directory: Path) -> str | None:
    """A query that fails raises DBAPIError, again and again, and keeps no connection."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    kept: list[SQLAlchemyError] = []  # as an error report would, and with them their frames
    with opened(subject, directory / "empty.db", 2) as catalogue:
        for visitor in range(4):
            try:
                got = catalogue.search(visitor, "tea")
            except SQLAlchemyError as error:
                kept.append(error)
            else:
                return f"search gave {got} from a database without products; let the error out"
    if all(isinstance(error, DBAPIError) for error in kept):
        return None
    last = f"{type(kept[-1]).__name__}: {kept[-1].args[0]}"  # without the address of its manual
    return f"of 4 queries that failed the last raised {last}; close on every path"


LAB = Lab(
    name="db_pool",
    title="Results kept for the next page",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(SEARCHES,),
    judged=(OPEN_FDS,),
    warning="Database connection leak detected!",
    all_clear="Database connections given back",
    rate_hz=20,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(SEARCHES),
        table.MEMORY,
        table.RISK,
        table.limit_row(table.COMMON_LIMIT),
    ),
    commands=("lsof -a -p {pid} -d ^mem | grep products.db | tail -3",),
    options=(POOL,),
    hints=(
        "Which file do the descriptors point to? Then try it with --leaky --pool 3 and read what "
        "the fourth visitor is told.",
        "Catalogue._searches keeps the result of each search for the next page, and a result that "
        "was not read to its end keeps its connection and the database's lock.",
        "Keep the visitor's place (the kind and the last id), not the result; and read each page "
        "by a query of its own inside `with self._engine.connect() as connection`.",
    ),
    exercise=Exercise(
        task=(
            "Visitors page through a catalogue, ten products at a time. On a busy day the pool has "
            "no connection for anybody any more, and the shop cannot add products: locked."
        ),
        behaviours=(
            pages_follow_each_other,
            visitors_do_not_disturb_each_other,
            few_connections_are_enough,
            the_shop_can_add_products,
            errors_give_their_connection_back,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.db_pool"))
