"""The pages below /debug/pprof/, as Go's net/http/pprof has them, and three that it lacks."""

from __future__ import annotations

import asyncio
import sys
import threading
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from harness.collector import no_collection
from harness.pprof import pages
from harness.pprof.aside import aside
from harness.pprof.await_chain import address
from harness.pprof.collect import PROFILE, SNAPSHOTS, Collector, Own
from harness.pprof.descriptors import Origins, is_exhausted, limit
from harness.pprof.guard import Refused, answer, debug, guard, seconds
from harness.pprof.profile import Profile, ProfileError, column, difference
from harness.pprof.proto import encode
from harness.pprof.sampler import sample_for
from harness.pprof.text import blocks, grouped
from harness.pprof.units import amount
from harness.probes.tasks import AnyTask, Predicate

if TYPE_CHECKING:
    from aiohttp import web

    Page = Callable[[web.Request], Awaitable[web.Response]]

ROOT = "/debug/pprof/"
_DEFAULT_SECONDS = 30.0
_WAITING_MAX = 8
_LOOK_EVERY_S = 0.5


def add_routes(
    app: web.Application,
    *,
    exclude: Predicate | None = None,
    origins: Origins | None = None,
    rows: pages.Rows = tuple,
    allow_remote: bool = False,
) -> None:
    """Add the pages to `app`, and the guard that stands before all of its pages.

    `exclude` accepts tasks that only serve these pages (those that answer a request are left out
    anyway), `origins` tells which stack opened a descriptor, `rows` what is open by origin and
    holder, for the index. With `allow_remote` requests for any
    Host are answered. What the pages need is loaded now: with no descriptor left it could not be.
    """
    served = Pages(exclude, origins, rows)
    served.load()
    app.middlewares.append(guard(allow_remote))
    app.router.add_get(ROOT.rstrip("/"), served.redirect)
    for path, page in served.by_path().items():
        app.router.add_get(ROOT + path, page)


class Pages:
    """Answers the requests; knows which tasks do so, and how many are waiting."""

    def __init__(
        self, exclude: Predicate | None, origins: Origins | None, rows: pages.Rows
    ) -> None:
        """Leave out what `exclude` accepts; ask `origins` and `rows` who opened a descriptor."""
        self._rows = rows
        self._observers: WeakSet[AnyTask] = WeakSet()
        self._exclude = exclude
        self._collector = Collector(self._is_observer, origins)
        self._assets = pages.assets()
        self._waiting = 0
        self._sampling = False

    def load(self) -> None:
        """Import and build all that a page may need later."""
        encode(self._collector.snapshot("goroutine", Own()))

    def by_path(self) -> Mapping[str, Page]:
        """Return the pages by their paths below `ROOT`, the special ones first."""
        return {
            "": self.index,
            "cmdline": self.cmdline,
            "symbol": self.symbol,
            "ui": self.ui,
            **dict.fromkeys(self._assets, self.asset),
            PROFILE: partial(self.profile, kind=PROFILE),
            "{kind}": self.profile,
        }

    def _is_observer(self, task: AnyTask) -> bool:
        return task in self._observers or (self._exclude is not None and self._exclude(task))

    async def redirect(self, _: web.Request) -> web.Response:
        """Lead to the index."""
        return answer(status=301, headers={"Location": ROOT})

    async def index(self, request: web.Request) -> web.Response:
        """Show what there is, and how many of each."""
        own = self._observe(request)
        counts = await aside(partial(self._counts, own))
        rows = await aside(self._rows)
        return _html(pages.index(counts, is_exhausted(_descriptor_of(request)), limit(), rows))

    def _counts(self, own: Own) -> dict[str, str]:
        counted = ("goroutine", "threadcreate", "fd", "socket")
        counts = {kind: str(_total(self._collector.snapshot(kind, own))) for kind in counted}
        traced = tracemalloc.is_tracing()
        in_use = amount(tracemalloc.get_traced_memory()[0], "bytes") if traced else "off"
        return {**counts, "heap": in_use, "allocs": in_use}

    async def profile(self, request: web.Request, kind: str = "") -> web.Response:
        """Send a profile, or its text."""
        kind = kind or request.match_info["kind"]
        level, duration_s = self._parameters(request, kind)
        headers = _headers(kind, level, duration_s)
        if request.method == "HEAD":
            return answer(headers=headers)
        own = self._observe(request)
        if level == 2 and kind == "goroutine":
            return answer(body=await aside(partial(self._blocks, own)), headers=headers)
        taken = await self._unless_gone(request, self._take(kind, duration_s, own))
        body = await aside(partial(_encoded, kind, taken, level))
        return answer(body=body, headers=headers)

    def _blocks(self, own: Own) -> bytes:
        return blocks(self._collector.goroutines(own)).encode()

    @staticmethod
    def _parameters(request: web.Request, kind: str) -> tuple[int, float | None]:
        if kind not in (*SNAPSHOTS, PROFILE):
            known = ", ".join((*SNAPSHOTS, PROFILE))
            raise Refused(404, f"unknown profile {kind[:40]!r}: there are {known}")
        default = _DEFAULT_SECONDS if kind == PROFILE else None
        level, duration_s = debug(request), seconds(request, default)
        if level and duration_s is not None:
            raise Refused(400, "seconds and debug do not go together: leave one of them out")
        return level, duration_s

    async def _unless_gone(
        self, request: web.Request, taking: Coroutine[Any, Any, Profile]
    ) -> Profile:
        """Wait for `taking`; give it up when the one who asked has gone (Ctrl-C in curl)."""
        task = asyncio.create_task(taking)
        self._observers.add(task)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_LOOK_EVERY_S)
                if request.transport is None:
                    raise Refused(408, "nobody waits for the answer any more")
            return task.result()
        finally:
            task.cancel()

    async def _take(self, kind: str, duration_s: float | None, own: Own) -> Profile:
        try:
            if kind == PROFILE:
                return await self._sample(duration_s or _DEFAULT_SECONDS)
            before = await aside(partial(self._collector.snapshot, kind, own))
            if duration_s is None:
                return before
            with self._one_more_waiting():
                await asyncio.sleep(duration_s)
            after = await aside(partial(self._collector.snapshot, kind, own))
            return await aside(partial(difference, after, before))
        except ProfileError as error:
            raise Refused(409, str(error)) from error

    async def _sample(self, duration_s: float) -> Profile:
        if self._sampling:
            raise Refused(429, "a profile is being taken already: ask again when it is done")
        stop, self._sampling = threading.Event(), True
        try:
            return await aside(partial(sample_for, duration_s, stop))
        finally:
            stop.set()
            self._sampling = False

    @contextmanager
    def _one_more_waiting(self) -> Iterator[None]:
        if self._waiting >= _WAITING_MAX:
            raise Refused(429, f"{_WAITING_MAX} requests with seconds wait already: ask later")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def ui(self, request: web.Request) -> web.Response:
        """Show a profile as a flame graph; what cannot be taken is said in its place."""
        kind = request.query.get("profile", "goroutine")
        given_s = seconds(request) if request.query.get("seconds") else None
        if kind not in (*SNAPSHOTS, PROFILE):
            self._parameters(request, kind)
        if request.method == "HEAD":
            return _html("")
        duration_s = given_s or (_DEFAULT_SECONDS if kind == PROFILE else None)
        try:
            taking = self._take(kind, duration_s, self._observe(request))
            taken = await self._unless_gone(request, taking)
        except Refused as refusal:
            return _html(pages.flame_graph(kind, given_s, None, refusal.text), refusal.status)
        drawn = await aside(partial(pages.flame_graph, kind, given_s, taken, ""))
        return _html(drawn)

    async def asset(self, request: web.Request) -> web.Response:
        """Send the style sheet or the script of the pages."""
        asset = self._assets[request.path.removeprefix(ROOT)]
        return answer(text=asset.text, content_type=asset.content_type, charset="utf-8")

    async def cmdline(self, _: web.Request) -> web.Response:
        """Send the command line, its words separated by NUL bytes, as Go does."""
        return answer(text="\0".join(sys.orig_argv))

    async def symbol(self, _: web.Request) -> web.Response:
        """Say that there are no addresses to look up: every profile carries its names."""
        return answer(text="num_symbols: 0\n")

    def _observe(self, request: web.Request) -> Own:
        """Take this request out of the picture: its task, and every connection to this server."""
        self._observers.add(request.task)  # the connection's; the request may have its own
        if task := asyncio.current_task():
            self._observers.add(task)
        end = request.transport.get_extra_info("sockname") if request.transport else None
        return Own(address(end))


def _encoded(kind: str, taken: Profile, level: int) -> bytes:
    with no_collection():
        return grouped(kind, taken).encode() if level else encode(taken)


def _descriptor_of(request: web.Request) -> int:
    sock = request.transport.get_extra_info("socket") if request.transport else None
    return sock.fileno() if sock else -1


def _total(profile: Profile) -> int:
    return sum(sample.values[column(profile)] for sample in profile.samples)


def _headers(kind: str, level: int, duration_s: float | None) -> dict[str, str]:
    if level:
        return {"Content-Type": "text/plain; charset=utf-8"}
    delta = "-delta" if duration_s is not None and kind != PROFILE else ""
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{kind}{delta}"',
    }


def _html(text: str, status: int = 200) -> web.Response:
    return answer(status=status, text=text, content_type="text/html", charset="utf-8")
