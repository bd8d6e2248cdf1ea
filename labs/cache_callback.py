"""Lab 10: a cache and an event bus keep every quote. `python -m labs.cache_callback`."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet, ref

from fixed import cache_callback as fixed
from harness import listing, table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Run, Setting, View, Workload
from harness.probes import fds
from leaky import cache_callback as leaky

QUOTES = Gauge("app_quotes_total", "Quotes made", "Quotes made")
ALIVE = Gauge("app_quotes_alive", "Alive", "Quotes still alive")
LIST = "tea 450\ncake 800\n"
MANY = 25
FOLLOWING = 20


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Make a quote per operation and drop it; at the end nobody keeps one any more."""
    path, bus = _price_list(setting.directory), subject.Bus()
    alive: WeakSet[Any] = WeakSet()
    made = 0

    def ask(number: int) -> object:
        nonlocal made
        quote = subject.Quote(path, bus)
        made += 1
        alive.add(quote)
        bus.publish(100 + number % 7)
        return quote.price("tea"), quote.price("cake")

    try:
        yield Workload(ask, {QUOTES: lambda: made, ALIVE: lambda: len(alive)})
    finally:
        vars(bus).clear()
        _clear_caches(subject)


def _price_list(directory: Path, text: str = LIST) -> Path:
    path = directory / "prices.txt"
    path.write_text(text, encoding="utf-8")
    return path


def _clear_caches(subject: ModuleType) -> None:
    """Empty the caches of a subject's functions and methods."""
    for owner in (subject, subject.Quote, subject.Bus):
        for value in vars(owner).values():
            getattr(value, "cache_clear", lambda: None)()


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof and /proc count."""
    return listing.open_files(run, setting.directory, "prices.txt")


def listeners_hear_the_rate(subject: ModuleType, directory: Path) -> str | None:
    """Every quote that lives has its prices at the rate of the moment."""
    path, bus = _price_list(directory), subject.Bus()
    quotes = [subject.Quote(path, bus) for _ in range(3)]
    for rate, wanted in ((100, 450), (200, 900), (50, 225)):
        if rate != 100:
            bus.publish(rate)
        gc.collect()
        if (got := [quote.price("tea") for quote in quotes]) != [wanted] * 3:
            return (
                f"tea costs {got} in three quotes at a rate of {rate} %, not {wanted}; the bus "
                "must still tell each quote that lives, and the rate is not for the cache"
            )
    return None


def a_price_is_looked_up_once(subject: ModuleType, directory: Path) -> str | None:
    """A quote stays with the price that it found first, and a new one reads the list anew."""
    path, bus = _price_list(directory), subject.Bus()
    quote = subject.Quote(path, bus)
    quote.price("tea")
    _price_list(directory, "tea 999\n")
    if (got := quote.price("tea")) != 450:
        return f"a quote of 450 became {got} as the list changed; it must know what it looked up"
    del quote
    for cents in range(FOLLOWING):  # each may get the address of the one before
        _price_list(directory, f"tea {cents}\n")
        if (got := subject.Quote(path, bus).price("tea")) != cents:
            return f"the list says {cents}, a new quote says {got}; let each have its own cache"
    return None


def unknown_items_are_errors(subject: ModuleType, directory: Path) -> str | None:
    """An item that is not on the list raises KeyError."""
    quote = subject.Quote(_price_list(directory), subject.Bus())
    try:
        return f"price('coal') gave {quote.price('coal')!r}, and no coal is on the list"
    except KeyError:
        return None


def a_dropped_quote_is_gone(subject: ModuleType, directory: Path) -> str | None:
    """A quote that is dropped is gone at once, and its file closed, though the bus goes on."""
    return _kept(subject, directory, "that was asked for nothing", []) or _kept(
        subject, directory, "that was asked for a price", ["tea"]
    )


def _kept(subject: ModuleType, directory: Path, what: str, items: Sequence[str]) -> str | None:
    """Say what is left of a quote that was asked for `items` and dropped, without the collector."""
    bus, before = subject.Bus(), fds.count() or 0
    gc.disable()
    try:
        quote = subject.Quote(_price_list(directory), bus)
        for item in items:
            quote.price(item)
        alive = ref(quote)
        del quote
        bus.publish(100)
        if alive() is None:
            is_open = (fds.count() or 0) > before
            return f"the file of a quote {what} stays open after it" if is_open else None
        gc.collect()
    finally:
        gc.enable()
    if alive() is None:
        return f"a quote {what} waits for the garbage collector: what does it hold that holds it?"
    return f"a quote {what} lives on after its request: neither bus nor cache may keep it"


def nothing_of_a_quote_stays(subject: ModuleType, directory: Path) -> str | None:
    """Quotes that are gone leave nothing behind in memory."""
    path, bus = _price_list(directory), subject.Bus()

    def ask(times: int) -> int:
        for _ in range(times):
            subject.Quote(path, bus).price("tea")
        bus.publish(100)
        gc.collect()
        return sys.getallocatedblocks()

    blocks = [ask(MANY) for _ in range(4)]
    left = min(after - before for before, after in pairwise(blocks))
    if left < 2 * MANY:
        return None
    return (
        f"after {MANY} quotes there are {left} blocks of memory more; a cache and a bus must "
        "forget who is gone, not only not hold them"
    )


LAB = Lab(
    name="cache_callback",
    title="Objects kept by a cache and a callback",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(QUOTES, ALIVE),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=25,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(ALIVE),
        table.gauge_row(QUOTES),
        table.MEMORY,
        table.RISK,
        table.view_row("Lsof Rows", "lsof_rows"),
        table.limit_row(table.COMMON_LIMIT),
    ),
    views=views,
    commands=(
        "lsof -a -p {pid} -d ^mem | grep prices.txt | tail -3",
        "curl http://localhost:{port}/debug/pprof/",
    ),
    hints=(
        "A quote closes its file as it goes, so ask why quotes stay: `held by` names who keeps "
        "one. Mend that and check again, for there are two.",
        "The cache of a method is the class's: each key in it holds `self`. And Bus._listeners "
        "holds bound methods, each of which holds its object.",
        "Keep what a quote has looked up in the quote itself, a dict. Let the bus keep a "
        "WeakMethod of each listener, call it only if its object still lives, and forget it "
        "afterwards.",
    ),
    exercise=Exercise(
        task=(
            "Each request makes a quote from the price list and drops it. Every quote stays in "
            "memory with its file, and the more of them there are, the longer it takes to tell "
            "them a new rate."
        ),
        behaviours=(
            listeners_hear_the_rate,
            a_price_is_looked_up_once,
            unknown_items_are_errors,
            a_dropped_quote_is_gone,
            nothing_of_a_quote_stays,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.cache_callback"))
