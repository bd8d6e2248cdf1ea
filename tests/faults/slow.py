"""Functions that leak once in 100 calls, and ones that do not: targets for `harness check`."""

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from itertools import count

EVERY = 100
KEPT: list[object] = []
LATEST: deque[object] = deque(maxlen=3)
CALLS = count(int(os.environ.get("FAULTS_PHASE", "0")))


def _rarely(make: Callable[[], object]) -> None:
    if next(CALLS) % EVERY == 0:
        KEPT.append(make())


def leaks_file() -> None:
    """Keep a file."""
    _rarely(lambda: open(__file__, "rb"))  # noqa: PTH123, SIM115


def leaks_descriptor() -> None:
    """Keep a number."""
    _rarely(lambda: os.open(__file__, os.O_RDONLY))


def leaks_socket() -> None:
    """Keep a socket."""
    _rarely(socket.socket)


def leaks_thread() -> None:
    """Keep a thread that waits."""
    _rarely(lambda: threading.Thread(target=threading.Event().wait, daemon=True).start())


def closes_all() -> None:
    """Open and close a file."""
    with open(__file__, "rb") as file:  # noqa: PTH123
        file.read(1)


def keeps_few() -> None:
    """Keep the latest files, as a cache would."""
    _rarely(lambda: LATEST.append(open(__file__, "rb")))  # noqa: PTH123, SIM115
