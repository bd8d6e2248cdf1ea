"""What a debug server lets in: a reader on this machine, and nobody else.

A page on the web can make a browser send requests to this machine under a name of its own (DNS
rebinding); it cannot choose the Host that the browser then sends. So the Host must be a loopback
name or address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from harness.ports import is_loopback

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Middleware

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

URL_MAX = 2000
SECONDS_MAX = 600

_READING = ("GET", "HEAD")
_DEBUG = ("0", "1", "2")
_SECONDS_DIGITS_MAX = 10
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "form-action 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'",
}


def answer(**given: Any) -> web.Response:  # noqa: ANN401 - what aiohttp takes
    """Return an HTTP response of what is given (status, text, body, headers, content_type)."""
    from aiohttp import web

    return web.Response(**given)


class Refused(Exception):
    """A request that is not answered: an HTTP status, and a text that says what to do."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with `status` and `text`."""
        super().__init__(text)
        self.status, self.text, self.headers = status, text, dict(headers or {})

    def response(self) -> web.Response:
        """Return the answer; the first header tells `go tool pprof` to print the text."""
        headers = {"X-Go-Pprof": "1", **self.headers}
        return answer(status=self.status, text=f"{self.text}\n", headers=headers)


def guard(allow_remote: bool = False) -> Middleware:
    """Return the middleware; with `allow_remote` any Host is let in, else only this machine's."""

    from aiohttp import web

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check(request, allow_remote)
            response = await handler(request)
        except Refused as refusal:
            response = refusal.response()
        except web.HTTPNotFound:
            response = Refused(404, f"no page {request.path!r}: see /debug/pprof/").response()
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return check


def _check(request: web.Request, allow_remote: bool) -> None:
    if len(request.raw_path) > URL_MAX:
        length = len(request.raw_path)
        raise Refused(414, f"the URL has {length} characters; {URL_MAX} are the most")
    if not allow_remote and not is_loopback(request.headers.getall("Host", [])):
        host = ", ".join(request.headers.getall("Host", [])) or "none"
        raise Refused(403, f"Host is {host[:80]!r}: ask for http://localhost, or start the server "
                           "with --allow-remote")  # fmt: skip
    if request.method not in _READING:
        raise Refused(
            405,
            f"{request.method} is refused: this server only shows, use GET",
            {"Allow": ", ".join(_READING)},
        )


def seconds(request: web.Request, default: float | None = None) -> float | None:
    """Return the parameter `seconds`, above 0 and up to 600, or `default` if it is not given.

    Raises `Refused`.
    """
    text = request.query.get("seconds")
    if text is None:
        return default
    plain = (
        len(text) <= _SECONDS_DIGITS_MAX and text.isascii() and text.replace(".", "", 1).isdigit()
    )
    if not plain or not 0 < float(text) <= SECONDS_MAX:
        raise Refused(400, f"seconds={text[:20]!r}: give a number above 0, at most {SECONDS_MAX}")
    return float(text)


def debug(request: web.Request) -> int:
    """Return the parameter `debug`: 0 for a profile, 1 and 2 for text. Raises `Refused`."""
    text = request.query.get("debug", "0")
    if text not in _DEBUG:
        raise Refused(400, f"debug={text[:20]!r}: 0 is a profile.proto, 1 and 2 are texts")
    return int(text)
