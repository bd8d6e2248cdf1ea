"""Every open descriptor of this process, and its sockets, as profiles.

Where someone remembers who opened a descriptor, its stack is the opening one. Otherwise the stack
is what the descriptor is: its kind, and its place (a directory, or the other end).
"""

import errno
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.pprof.await_chain import address
from harness.pprof.profile import Frame, Profile, Sample, Stack, ValueType
from harness.probes import fds
from harness.probes.sockets import STATES

Origins = Callable[[], Mapping[int, tuple[tuple[str, int, str], ...]]]
"""Tells by descriptor the stack that opened it: (file, line, function), the innermost first."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An open descriptor: `place` is a path's directory, or the far end of a connection."""

    number: int
    kind: str
    target: str
    place: str
    state: str = ""
    own: str = ""


def descriptors() -> list[Descriptor]:
    """Return every open descriptor of this process but the one that listing them takes.

    With no descriptor left it still answers: then each number up to the limit is asked for.
    """
    found = [each for number in fds.numbers() if (each := _descriptor(number)) is not None]
    served = {_port(each.own) for each in found if each.state == "LISTEN"}
    return [_at_server(each) if _port(each.own) in served else each for each in found]


def _port(end: str) -> str:
    return end.rpartition(":")[2]


def _at_server(found: Descriptor) -> Descriptor:
    """Put a connection that came in under the port that it came to, not under its client."""
    incoming = found.kind == "tcp" and found.state != "LISTEN"
    return replace(found, place=f"tcp {found.own} <- clients") if incoming else found


def is_exhausted(number: int) -> bool:
    """Tell whether the process may open nothing more; `number` is any open descriptor."""
    try:
        with fds.turn():
            os.close(os.dup(number))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def limit() -> int:
    """Return how many descriptors this process may have open (`ulimit -n`)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def fd_profile(found: Iterable[Descriptor], origins: Origins | None = None) -> Profile:
    """Return one sample for each descriptor."""
    return _profile(ValueType("fd", "count"), found, origins)


def socket_profile(found: Iterable[Descriptor], origins: Origins | None = None) -> Profile:
    """Return one sample for each socket."""
    sockets = [each for each in found if each.state]
    return _profile(ValueType("socket", "count"), sockets, origins)


def _profile(kind: ValueType, found: Iterable[Descriptor], origins: Origins | None) -> Profile:
    opened = origins() if origins else {}
    samples = tuple(_sample(each, opened.get(each.number, ())) for each in found)
    return Profile((kind,), samples, kind, time_ns=time.time_ns())


def _sample(found: Descriptor, opened: tuple[tuple[str, int, str], ...]) -> Sample:
    stack: Stack = tuple(Frame.at(function, file, line) for file, line, function in opened)
    if not stack:
        parts = (found.place, found.state, found.kind)
        stack = tuple(Frame.at(part, "", 0) for part in parts if part)
    labels = (("fd", found.number), ("kind", found.kind), ("target", found.target))
    return Sample(stack, (1,), labels + ((("state", found.state),) if found.state else ()))


def _descriptor(number: int) -> Descriptor | None:
    try:
        kind = fds.kind(number) or "anonymous"
    except OSError:  # the one that listed them, or closed meanwhile
        return None
    if kind == "socket":
        return _socket(number) or Descriptor(number, kind, "socket", "")
    target = fds.target(number) or "n/a"
    place = str(Path(target).parent) if target.startswith("/") else target
    return Descriptor(number, kind, target, place)


def _socket(number: int) -> Descriptor | None:
    """Ask the socket itself, through an object that lets go of it again.

    Where the program has set a default timeout, making that object makes the socket non-blocking:
    it is set back.
    """
    try:
        blocking = os.get_blocking(number)
        sock = socket.socket(fileno=number)
        try:
            return _described(number, sock)
        finally:
            sock.detach()
            if os.get_blocking(number) != blocking:
                os.set_blocking(number, blocking)
    except OSError:  # closed meanwhile
        return None


def _described(number: int, sock: socket.socket) -> Descriptor:
    try:
        peer, connected = address(sock.getpeername()), True
    except OSError:
        peer, connected = "", False
    own, kind = address(sock.getsockname()), _protocol(sock)
    target = f"{own} -> {peer}" if peer else own
    place = f"{kind} -> {peer}" if peer else own and f"{kind} {own}"
    return Descriptor(number, kind, target or kind, place, _state(sock, connected), own)


def _protocol(sock: socket.socket) -> str:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return "tcp" if sock.type == socket.SOCK_STREAM else "udp"
    return getattr(sock.family, "name", str(sock.family)).removeprefix("AF_").lower()


def _state(sock: socket.socket, connected: bool) -> str:
    if sys.platform == "linux" and _protocol(sock) == "tcp":
        number = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]  # its first byte
        return STATES.get(number, "n/a")
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "LISTEN"
    return "ESTABLISHED" if connected else "OPEN"
