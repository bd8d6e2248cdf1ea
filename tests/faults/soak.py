"""The fixed variants of the seed labs for an hour, their debug servers asked each second."""

import http.client
import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psutil

from tests.running import Place, Started

from .cases import Order, place
from .tables import Limit, Table

COUNT, SHORT = 3600, 30
LABS = "labs.file_leak", "labs.http_leak"
ROOT = "/debug/pprof/"
HOLDERS = "/page/open.json?holders=1"
PAGES = (
    "/",
    "/page/run.json",
    "/page/open.json",
    HOLDERS,
    ROOT,
    *(f"{ROOT}{kind}" for kind in ("goroutine", "threadcreate", "fd", "socket")),
    f"{ROOT}goroutine?debug=2",
    f"{ROOT}fd?debug=1",
    f"{ROOT}ui?profile=goroutine",
    f"{ROOT}profile?seconds=0.2",
)
MOST_FDS, MOST_MEMORY_MB = 2.0, 4.0
"""How much the medians of the second and of the last tenth may differ: descriptors may be in
flight, and memory may be taken in blocks."""
LOOKS = 4
"""In a second: a median of few says little, and a slow machine needs long for what comes first."""
MARGIN_S = 5
"""Before the run's end nobody asks any more."""
SEVERAL = 100
"""Rounds of all pages that a long run has time for."""
WARMING_ROUNDS = 5
"""So often each page is asked for first: Python's allocator takes what they need."""


@dataclass
class Watched:
    """What was seen of one run from outside, a row per look: descriptors, bytes; and refusals."""

    fds: list[int] = field(default_factory=list)
    rss_bytes: list[int] = field(default_factory=list)
    answers: int = 0
    refused: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def ask(port: int, page: str) -> str | None:
    """Get a page of the debug server; return what was wrong with the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        body = answer.read()
        return None if answer.status == 200 and body else f"{page}: status {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{page}: {type(error).__name__}: {error}"
    finally:
        connection.close()


def watch(run: Started, port: int, length_s: int) -> Watched:
    """Look at a run, and ask its server once a second, until it is about to end.

    A search for holders takes megabytes, which Python's allocator gives back soon or at the next
    one, by chance. Among the many of a tenth of an hour that is no matter; a short run asks for
    each page once, for that one first, so that none comes between the tenths that are compared.
    """
    seen, process = Watched(), psutil.Process(run.pid)
    began_s = time.monotonic()
    seen.refused += [wrong for page in WARMING_ROUNDS * PAGES if (wrong := ask(port, page))]
    began_s, left_s = time.monotonic(), length_s - MARGIN_S - (time.monotonic() - began_s)
    pages = PAGES[PAGES.index(HOLDERS) :] + PAGES[: PAGES.index(HOLDERS)]
    asked = int(left_s) if left_s > SEVERAL * len(pages) else min(int(left_s), len(pages))
    for look in range(LOOKS * asked):
        time.sleep(max(0.0, began_s + look / LOOKS - time.monotonic()))
        if look % LOOKS == 0:
            ask_for(pages[look // LOOKS % len(pages)], port, seen)
        seen.fds.append(process.num_fds())
        seen.rss_bytes.append(process.memory_info().rss)
    return seen


def ask_for(page: str, port: int, seen: Watched) -> None:
    """Get a page and note how that went."""
    asked_s = time.monotonic()
    wrong = ask(port, page)
    seen.slowest_s = max(seen.slowest_s, time.monotonic() - asked_s)
    seen.answers += wrong is None
    seen.refused += [wrong] if wrong else []


def tenth(values: Sequence[float], number: int) -> float:
    """Return the median of a tenth of the values, counted from 1."""
    size = max(1, len(values) // 10)
    return statistics.median(values[(number - 1) * size : number * size])


def soaked(here: Place, module: str, length_s: int) -> tuple[list[str], list[Limit], list[str]]:
    """Run one lab; return its row, its limits and what went wrong."""
    run = here.start(
        "--fixed", "--json", f"--duration={length_s}", "--port=0",
        *(["--upstream-port=0"] if "http" in module else []), module=module,
    )  # fmt: skip
    port = int(run.see(r'"server_port": (\d+)')[1])
    seen = watch(run, port, length_s)
    ended = run.end(60 + length_s * 0.1)
    fds, memory_mb = seen.fds, [each / 1e6 for each in seen.rss_bytes]
    growth_mb = tenth(memory_mb, 10) - tenth(memory_mb, 2)
    name = module.removeprefix("labs.")
    result = json.loads(ended.lines[-1])
    verdict = result["verdict"] and result["verdict"]["leaking"]
    row = [
        name, f"{length_s} s", f"{result['operations']}", f"{seen.answers}",
        f"{tenth(fds, 2):g} → {tenth(fds, 10):g}, at most {max(fds)}",
        f"{memory_mb[0]:.1f}, {tenth(memory_mb, 2):.1f} → {tenth(memory_mb, 10):.1f}, "
        f"at most {max(memory_mb):.1f}",
        f"{seen.slowest_s:.2f} s", {False: "stable", True: "leak", None: "open"}[verdict],
    ]  # fmt: skip
    limits = [
        Limit(f"{name}: descriptors more", tenth(fds, 10) - tenth(fds, 2), MOST_FDS),
        Limit(f"{name}: MB of memory more", growth_mb, MOST_MEMORY_MB),
        Limit(f"{name}: exit status", abs(ended.status), 0),
        Limit(f"{name}: reported a leak", float(verdict is True), 0),
        Limit(f"{name}: answers missed", len(seen.refused), 0),
    ]
    wrong = [*seen.refused, *ended.err.splitlines()]
    return row, limits, [f"- {name}: {said}" for said in wrong[:20]]


def tables(order: Order) -> list[Table]:
    """Run both labs at once for `count` seconds."""
    with place() as here, ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda module: soaked(here, module, order.count), LABS))
        left = here.leftovers()
    headers = (
        "fixed", "length", "operations", "pages answered", "descriptors", "memory, MB",
        "slowest page", "verdict",
    )  # fmt: skip
    limits = [limit for _, each, _ in found for limit in each]
    limits.append(Limit("left behind", len(left), 0))
    note = (
        f"{len(PAGES)} pages in turn, one each second. Descriptors and memory were read from "
        f"outside, {LOOKS} times a second; the arrows lead from the median of the second tenth of "
        "the time to that of the last."
    )
    told = "\n".join(line for _, _, lines in found for line in lines)
    return [
        Table("Soak", headers, [row for row, _, _ in found], limits, f"{note}\n\n{told}".strip())
    ]
