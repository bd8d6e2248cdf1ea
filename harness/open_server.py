"""What a running program has open, over HTTP: `/` as a page, `/json` and `/text`.

`/goroutines` is what its threads and tasks wait in, as Go's `debug=2` writes it. This is the
standard library's server and not the labs' one, whose event loop would take low descriptor numbers
that the program gets otherwise.
"""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

from harness.aside import moved_aside
from harness.errors import UsageError
from harness.ports import is_loopback
from harness.pprof.goroutines import OBSERVER, Numbers, Snapshot
from harness.pprof.text import blocks
from harness.report import Report, as_html, as_json, as_text

ROUTES: dict[str, tuple[str, Callable[[Report], str]]] = {
    "/": ("text/html", as_html),
    "/json": ("application/json", as_json),
    "/text": ("text/plain", as_text),
}

GOROUTINES = "/goroutines"


def _goroutines() -> str:
    return blocks(Snapshot(Numbers()).goroutines())


def serve(
    report: Callable[[str], Report],
    port: int,
    unwatched: Callable[[], AbstractContextManager[None]],
) -> tuple[int, Callable[[], None]]:
    """Listen on 127.0.0.1; return the port, and what begins to answer with `report`.

    It answers from a thread that ends with the process. Everything that it opens, it opens within
    `unwatched()`, which must work by then.

    Raises:
        UsageError: the port is taken, not allowed or no port.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with what is open now."""
            if not is_loopback(self.headers.get_all("Host", [])):
                self.send_error(403, "ask for http://localhost")
                return
            if self.path == GOROUTINES:
                content_type, body = "text/plain", _goroutines().encode()
            elif self.path in ROUTES:
                content_type, render = ROUTES[self.path]
                body = render(report("on request")).encode()
            else:
                self.send_error(404, f"try one of {', '.join((*ROUTES, GOROUTINES))}")
                return
            self.send_response(200)
            self.send_header("Content-Type", f"{content_type}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep quiet: stderr is the program's."""

    try:
        server = HTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"--http {port}: {error}; give another port, or 0 for any") from error
    server.socket = socket.socket(fileno=moved_aside(server.socket.detach()))

    def answer() -> None:
        with unwatched():
            server.serve_forever()

    def begin() -> None:
        with unwatched():
            Thread(target=answer, name=f"{OBSERVER}http", daemon=True).start()

    return int(server.server_port), begin
