"""Checks a learner's copy each time that it is saved."""

import time
from collections.abc import Callable
from pathlib import Path

from harness import mine
from harness.command import DONE
from harness.errors import UsageError
from harness.terminal import Terminal

from . import progress
from .commands import check_once

EVERY_S = 0.3
"""Polling works on every file system, network and container mounts included."""


def watch_copy(name: str, terminal: Terminal, pause: Callable[[float], None] = time.sleep) -> int:
    """Check the copy for lab `name` now, and after each change, until it passes.

    `pause` waits for so many seconds between two looks.
    """
    path = mine.path_of(name)
    seen: object = None
    while True:
        state = _state(path)
        if state != seen:
            seen = state
            if _passes(name, terminal):
                return DONE
            terminal.line(f"Watching {path}: save it to check again, Ctrl-C to stop.\n")
        pause(EVERY_S)


def _state(path: Path) -> object:
    """Return what changes when a file is saved; editors may replace it, so that it is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _passes(name: str, terminal: Terminal) -> bool:
    try:
        return check_once(name, progress.load()[0], terminal) == DONE
    except UsageError as error:  # saved half, or away for a moment
        terminal.line(str(error))
        return False
