"""Requests that no browser would send: valid ones by hypothesis, and raw bytes by chance."""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random

from hypothesis import strategies

from .soak import PAGES, ROOT

PATIENCE_S = 2.0
FOREIGN_HOSTS = (
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example:6060",
    "evil.example:6060",
    "localhost@evil.example",
    "[2001:db8::1]",
    "0x7f.evil",
    "192.168.0.1",
    "",
    "\x00",
)
METHODS = "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get"
KEYS = "seconds", "debug", "profile", "after", "holders", "%00", ""
VALUES = "0", "1", "2", "-1", "0.1", "601", "1e9", "nan", "inf", "٣", "9" * 400, "%FF", "a b", ""
FIELDS = (
    "Origin: http://evil.example",
    "Origin: http://[",
    "Range: bytes=0-1",
    "Expect: 100-continue",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Transfer-Encoding: chunked",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Accept-Encoding: gzip, br",
    "Cookie: a=b",
    "X: \xff",
)


def get(path: str = ROOT, host: str = "localhost") -> bytes:
    """Return a plain request."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1", "replace")


@strategies.composite
def requests(draw: Callable[..., str]) -> bytes:
    """Draw a request with the right form, whatever its parts are."""
    paths = strategies.sampled_from(PAGES) | strategies.text(max_size=40)
    pairs = strategies.tuples(strategies.sampled_from(KEYS), strategies.sampled_from(VALUES))
    query = "&".join(f"{key}={value}" for key, value in draw(strategies.lists(pairs, max_size=3)))
    fields = draw(strategies.lists(strategies.sampled_from(FIELDS), max_size=3))
    host = draw(strategies.sampled_from(["localhost", "127.0.0.1:1", *FOREIGN_HOSTS]))
    path = draw(paths)
    line = f"{draw(strategies.sampled_from(METHODS))} /{path.lstrip('/')}?{query} HTTP/1.1"
    return "\r\n".join([line, f"Host: {host}", *fields, "", ""]).encode("utf-8", "replace")


def answer(port: int, request: bytes, patience_s: float = PATIENCE_S) -> bytes:
    """Send a request; return what comes back until the server closes or patience ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as caller:
        got = b""
        with suppress(OSError):
            caller.sendall(request)
            while block := caller.recv(1 << 16):
                got += block
                if len(got) > 1 << 16:  # the rest would only be more of it
                    break
        return got


def slow(port: int, choice: Random) -> bytes:
    """Send a request byte by byte."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as caller:
        with suppress(OSError):
            for byte in get(choice.choice(PAGES)):
                caller.send(bytes([byte]))
                time.sleep(choice.uniform(0, 0.01))
            return caller.recv(1 << 16)
        return b""


def half(port: int, choice: Random) -> bytes:
    """Send a part of a request and go, in one of three ways."""
    request = get(choice.choice(PAGES))
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as caller:
        caller.sendall(request[: choice.randrange(len(request))])
        time.sleep(choice.uniform(0, 0.1))
        if choice.random() < 0.3:
            caller.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                return caller.recv(1 << 16)
        if choice.random() < 0.5:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return b""


def left(port: int, choice: Random) -> bytes:
    """Ask for what takes long, and hang up before the answer."""
    page = choice.choice([f"{ROOT}profile?seconds=20", f"{ROOT}fd?seconds=20", "/page/open.json"])
    return answer(port, get(page), choice.uniform(0.01, 0.2))


def pipelined(port: int, choice: Random) -> bytes:
    """Send many requests at once."""
    return answer(port, b"".join(get(choice.choice(PAGES)) for _ in range(choice.randint(2, 40))))


def huge(port: int, choice: Random) -> bytes:
    """Send far too much of something."""
    size = choice.choice([5_000, 20_000, 300_000, 3_000_000])
    return answer(port, choice.choice([
        get("/" + "a" * size),
        get(f"{ROOT}?" + "a=1&" * (size // 4)),
        get()[:-2] + b"X: " + b"a" * size + b"\r\n\r\n",
        get()[:-2] + b"X: a\r\n" * (size // 6) + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size + bytes(size),
        get("/", "a" * size),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\nx\r\n" * (size // 6),
    ]))  # fmt: skip


def binary(port: int, choice: Random) -> bytes:
    """Send bytes by chance."""
    return answer(port, choice.randbytes(choice.randint(1, 4000)) + b"\r\n\r\n")


def mutated(port: int, choice: Random) -> bytes:
    """Send a request with some bytes changed."""
    request = bytearray(get(choice.choice(PAGES)))
    for _ in range(choice.randint(1, 6)):
        request[choice.randrange(len(request))] = choice.randrange(256)
    return answer(port, bytes(request), 0.3)


def crowd(port: int, choice: Random) -> bytes:
    """Open many connections that say nothing, and ask beside them."""
    idle = []
    try:
        for _ in range(choice.randint(20, 90)):
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))
        return answer(port, get())
    finally:
        for each in idle:
            each.close()


def plain(port: int, choice: Random) -> bytes:
    """Ask for a page."""
    return answer(port, get(choice.choice(PAGES)), 20)


def rebinding(port: int, choice: Random) -> bytes:
    """Ask under a name that leads here but is another's: no page may be answered."""
    host = choice.choice(FOREIGN_HOSTS)
    got = answer(port, get(choice.choice(PAGES), host))
    if got.startswith(b"HTTP/1.1 2"):
        raise AssertionError(f"Host {host!r} was answered")
    return got


KINDS: dict[str, Callable[[int, Random], bytes]] = {
    "page": plain,
    "slow": slow,
    "half": half,
    "left early": left,
    "pipelined": pipelined,
    "huge": huge,
    "binary": binary,
    "mutated": mutated,
    "crowd of idle ones": crowd,
    "foreign Host": rebinding,
}


def raw(port: int, choice: Random, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield the kind and the answer of `count` requests of random kinds."""
    for _ in range(count):
        kind = choice.choice(list(KINDS))
        yield kind, spoken(lambda kind=kind: KINDS[kind](port, choice))


def spoken(ask: Callable[[], bytes]) -> bytes:
    """Return what `ask` gets, nothing where the crowd left no room to connect in time."""
    try:
        return ask()
    except OSError:
        return b""
