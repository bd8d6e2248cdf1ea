"""Listening sockets on the loopback interface, and who holds a port that is taken."""

import errno
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from .cli import LOOPBACK
from .errors import UsageError


def listen(port: int, flag: str, host: str = LOOPBACK) -> socket.socket:
    """Return a listening, non-blocking socket on `port` (0: any free one).

    `flag` is the option that sets this port, for the UsageError of one that is in use.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UsageError(_why(error, port, flag, host)) from None
    listener.listen(128)
    return listener


def _why(error: OSError, port: int, flag: str, host: str) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"{flag} {port}: cannot listen on {host}: {error.strerror}"
    return f"{flag} {port}: in use by {holder(port)}; choose another with {flag} (0: any free port)"


def holder(port: int) -> str:
    """Return who has TCP `port`: the process's name and pid, as far as we may see it.

    Who listens on it, or else who connects from it: those ports are given out at random.
    """
    import psutil

    try:
        by_status = {
            entry.status == psutil.CONN_LISTEN: entry.pid
            for entry in psutil.net_connections("tcp")
            if tuple(entry.laddr)[1:2] == (port,) and entry.pid
        }
        listens = max(by_status)
        pid = by_status[listens]
        name = f"{psutil.Process(pid).name()} (pid {pid})"
        return name if listens else f"a connection of {name}"
    except (psutil.Error, ValueError):
        return "another process (lsof -i shows it to its owner and to root)"


def is_loopback(hosts: list[str]) -> bool:
    """Tell whether the Host headers of a request are one, a loopback name or address."""
    if len(hosts) != 1:
        return False
    try:
        name = (urlsplit(f"//{hosts[0]}").hostname or "").removesuffix(".")
        return name == "localhost" or name.endswith(".localhost") or ip_address(name).is_loopback
    except ValueError:
        return False
