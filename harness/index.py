"""What the debug server of a run serves, as an aiohttp application."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

    from .pprof.descriptors import Origins
    from .pprof.pages import Rows


def application(origins: "Origins", rows: "Rows", allow_remote: bool = False) -> "web.Application":
    """Return the application: the pages below /debug/pprof/, and the way there from /.

    `origins` tells which stack opened a descriptor, `rows` what is open by
    origin and holder. With `allow_remote` requests are answered whatever Host they ask for.
    """
    from aiohttp import web

    from .pprof.routes import ROOT, add_routes

    async def to_the_pages(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": ROOT})

    made = web.Application()
    add_routes(made, origins=origins, rows=rows, allow_remote=allow_remote)
    made.router.add_get("/", to_the_pages)
    return made
