"""What the debug server answers for the live page: the page itself, the run, and what is open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakSet

from harness.clock import SystemClock
from harness.page.live import Live
from harness.pprof.aside import aside
from harness.pprof.collect import PROFILE, PROFILE_IS, SNAPSHOTS
from harness.pprof.guard import Refused, answer
from harness.pprof.pages import Asset
from harness.probes.tasks import AnyTask
from harness.report import TARGETS_SHOWN, Group, noun, place
from harness.watching import Budget

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.Response]]

ROOT = "/page/"
WAIT_S = 10.0
"""How long a request for the next change waits for it at most."""
LOOK_EVERY_S = 0.05
SHARE = 0.1
"""Of the time, how much may go into looking who holds what: seconds a look at 20,000 files."""

_ASSETS = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "chart.js": "text/javascript",
}

Look = Callable[[bool], Sequence[tuple[Group, str]]]
"""Finds what is open in groups, each with who holds it if that is asked for."""


def add_routes(app: web.Application, live: Live, look: Look) -> WeakSet[AnyTask]:
    """Add the page at `/`, and what it loads; return the tasks that answer its requests.

    The guard that the profiles put before all pages of `app` stands before these, too. The files
    are read now: with no descriptor left they could not be read later.
    """
    page = Page(live, look)
    for path, handler in page.by_path().items():
        app.router.add_get(path, handler)
    return page.observers


class Page:
    """Answers the requests of the live page; `observers` are the tasks that do so."""

    def __init__(self, live: Live, look: Look) -> None:
        self.observers: WeakSet[AnyTask] = WeakSet()
        self._live = live
        self._look = look
        self._assets = assets()
        self._budget = Budget(SystemClock(), SHARE)
        self._looking = asyncio.Lock()
        self._found = b"[]"

    def by_path(self) -> Mapping[str, Handler]:
        """Return what answers for each path."""
        own = {"/": self.index, f"{ROOT}run.json": self.run, f"{ROOT}open.json": self.open}
        return own | dict.fromkeys((ROOT + name for name in self._assets), self.asset)

    async def index(self, request: web.Request) -> web.Response:
        """Send the page, which may ask the run beside it on another port of this host."""
        policy = "; ".join((
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:",
            f"connect-src 'self' http://{request.url.host}:*",
            "base-uri 'none'; form-action 'none'",
        ))  # fmt: skip
        return self._asset("page.html", {"Content-Security-Policy": policy})

    async def asset(self, request: web.Request) -> web.Response:
        """Send a file that the page loads."""
        return self._asset(request.path.removeprefix(ROOT))

    def _asset(self, name: str, headers: Mapping[str, str] | None = None) -> web.Response:
        asset = self._assets[name]
        return answer(
            text=asset.text, content_type=asset.content_type, charset="utf-8", headers=headers
        )

    async def run(self, request: web.Request) -> web.Response:
        """Send the run so far: at once, or with `?after=N` when there are more than N changes."""
        self._observe(request)
        await self._change(_after(request))
        document = self._live.as_json() | {"profiles": {**SNAPSHOTS, PROFILE: PROFILE_IS}}
        return _json(request, json.dumps(document).encode())

    async def _change(self, after: int) -> None:
        """Wait for the next change, looking for it: the run has nobody to tell but its sinks."""
        for _ in range(round(WAIT_S / LOOK_EVERY_S)):
            if self._live.changes != after or self._live.has_ended:
                return
            await asyncio.sleep(LOOK_EVERY_S)

    async def open(self, request: web.Request) -> web.Response:
        """Send what is open in groups: as it is now, or was when the last look was paid off.

        With `?holders=1` who holds them, too: some megabytes that the run's memory shows. Of a run
        that has ended the last look stays: what it still had is being given back.
        """
        self._observe(request)
        look = partial(self._listed, request.query.get("holders") == "1")
        async with self._looking:
            if not self._live.has_ended and self._budget.begin():
                found = await aside(look)
                self._budget.end()
                self._found = self._found if self._live.has_ended else found
        return _json(request, self._found)

    def _listed(self, with_holders: bool) -> bytes:
        return json.dumps([_group(*found) for found in self._look(with_holders)]).encode()

    def _observe(self, request: web.Request) -> None:
        """Take the tasks of this request out of every picture."""
        self.observers.update(
            task for task in (request.task, asyncio.current_task()) if task is not None
        )


def assets() -> dict[str, Asset]:
    """Read the page's files."""
    folder = Path(__file__).parent
    return {
        name: Asset(kind, (folder / name).read_text(encoding="utf-8"))
        for name, kind in _ASSETS.items()
    }


def _after(request: web.Request) -> int:
    text = request.query.get("after", "-1")
    if text != "-1" and not (text.isascii() and text.isdigit()):
        raise Refused(400, f"after={text[:20]!r}: give the number of changes seen so far")
    return int(text)


def _group(group: Group, held_by: str) -> dict[str, object]:
    return {
        "count": group.count,
        "noun": noun(group),
        "origin": group.origin,
        "held_by": held_by,
        "stack": [place(frame) for frame in group.stack],
        "targets": [*group.targets[:TARGETS_SHOWN]],
        "more_targets": max(0, len(group.targets) - TARGETS_SHOWN),
    }


def _json(request: web.Request, body: bytes) -> web.Response:
    return answer(body=body, content_type="application/json", headers=_shared(request))


def _shared(request: web.Request) -> dict[str, str]:
    """Let a page on another port of this host read the answer: the twin's.

    Who serves pages there can ask this server without a browser just as well. Any other origin is
    not told: a page on the web must not read what runs on this machine.
    """
    origin = request.headers.get("Origin", "")
    here = request.url.host
    is_here = here is not None and _host(origin) == here
    return {"Vary": "Origin", **({"Access-Control-Allow-Origin": origin} if is_here else {})}


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None
