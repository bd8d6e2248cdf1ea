"""What the campaigns share: numbered cases, each from a seed of its own, and the table of a row."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.running import Place

from .tables import Limit, Table

MOST_SHOWN = 20
"""Faults of one campaign that are told one by one."""


@dataclass(frozen=True)
class Order:
    """What one campaign is to do: `count` cases from `seed`, or case `only` alone.

    `workers` cases run side by side. Of a soak `count` is its length in seconds.
    """

    name: str
    seed: int
    count: int
    workers: int = 2
    only: int | None = None

    @property
    def numbers(self) -> Sequence[int]:
        """The cases to run."""
        return range(self.count) if self.only is None else [self.only]

    def choice(self, number: int) -> Random:
        """Return the source of all random choices of a case: the same for it alone."""
        return Random(f"{self.seed} {self.name} {number}")

    def replay(self, number: int) -> str:
        """Return the command that runs a case alone."""
        return f"python -m tests.faults {self.name} --seed {self.seed} --only {number}"


@dataclass(frozen=True)
class Outcome:
    """What came of a case: its kind (a row of the table), how it ended, what was wrong."""

    kind: str
    ended: str
    faults: tuple[str, ...] = ()


Run = Callable[[int, Random], Outcome]


def outcomes(order: Order, run: Run) -> dict[int, Outcome]:
    """Run the cases side by side; one that raises has that as its fault."""

    def tried(number: int) -> Outcome:
        try:
            return run(number, order.choice(number))
        except Exception as error:  # noqa: BLE001 - the other cases go on
            return Outcome("the campaign itself", "raised", (f"{type(error).__name__}: {error}",))

    with ThreadPoolExecutor(order.workers) as pool:
        try:
            return dict(zip(order.numbers, pool.map(tried, order.numbers), strict=True))
        except BaseException:  # a signal: those under way clean up, the others do not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def table(title: str, order: Order, found: dict[int, Outcome], note: str) -> Table:
    """Return a row for each kind of case: how many, how they ended, how many had a fault."""
    rows = [
        _row(kind, [each for each in found.values() if each.kind == kind]) for kind in _kinds(found)
    ]
    told = "\n".join(faults(order, found))
    wrong = sum(bool(each.faults) for each in found.values())
    headers = "what", "cases", "how they ended", "with a fault"
    limits = [Limit("cases with a fault", wrong, 0)]
    return Table(title, headers, rows, limits, f"{note}\n\n{told}".strip())


def _kinds(found: dict[int, Outcome]) -> list[str]:
    return sorted({each.kind for each in found.values()})


def _row(kind: str, found: Sequence[Outcome]) -> list[str]:
    ended = Counter(each.ended for each in found)
    told = ", ".join(f"{how} ({count})" for how, count in sorted(ended.items()))
    return [kind, str(len(found)), told, str(sum(bool(each.faults) for each in found))]


def faults(order: Order, found: dict[int, Outcome]) -> Iterator[str]:
    """Yield a line for each fault, with the command that runs its case alone."""
    wrong = [(number, said) for number, each in found.items() for said in each.faults]
    for number, said in wrong[:MOST_SHOWN]:
        yield f"- {said} (`{order.replay(number)}`)"
    if len(wrong) > MOST_SHOWN:
        yield f"- and {len(wrong) - MOST_SHOWN} more"


@contextmanager
def place() -> Iterator[Place]:
    """Lend a folder for the labs of one case; end what still runs and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    here = Place(folder / "tmp")
    try:
        yield here
    finally:
        here.kill_all()
        shutil.rmtree(folder, ignore_errors=True)
