"""What the debug server of a run serves, as an aiohttp application."""

from typing import TYPE_CHECKING

from .imports import quickly

if TYPE_CHECKING:
    from aiohttp import web

    from .page.live import Live
    from .page.routes import Look
    from .pprof.descriptors import Origins
    from .pprof.pages import Rows


def application(
    origins: "Origins", rows: "Rows", live: "Live", look: "Look", allow_remote: bool = False
) -> "web.Application":
    """Return the application: the live page at /, /metrics, the profiles below /debug/pprof/.

    `origins` tells which stack opened a descriptor, `rows` and `look` what is open by
    origin and holder, `live` how the run goes. With `allow_remote` requests are answered whatever
    Host they ask for.
    """
    with quickly():
        from aiohttp import web

        from . import metrics
        from .page import routes as page
        from .pprof import routes as pprof

    made = web.Application()
    observers = page.add_routes(made, live, look)
    metrics.add_route(made, live, observers)
    pprof.add_routes(
        made, exclude=observers.__contains__, origins=origins, rows=rows, allow_remote=allow_remote
    )
    return made
