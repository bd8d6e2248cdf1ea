"""Child processes that judge: given their orders as JSON, in a session of their own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

STDERR = 2
_CODE = (
    "import sys; here = sys.path.pop(0); sys.path.append({root!r}); from {module} import main; "
    "sys.path.insert(0, here); main()"
)
"""A file in the current folder may have the name of a module that the instrument imports."""


def run_child(module: str, orders: Mapping[str, object], timeout_s: float) -> int | None:
    """Run `main` of `module` in a new process, with `orders` as its one argument.

    Returns its exit status, or `None` after `timeout_s` seconds. What it prints goes to stderr, and
    what it started and left in its session is ended.
    """
    root = str(Path(__file__).resolve().parents[1])
    code = _CODE.format(root=root, module=module)
    command = [sys.executable, "-c", code, json.dumps(orders)]
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=STDERR, start_new_session=True
    )
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def end_session(leader: int) -> None:
    """End whatever is left in the session that process `leader` began, also in other groups."""
    import psutil

    pids: list[int] = []
    with suppress(OSError, IndexError):  # no descriptor is left to list them with, or no /proc
        pids = psutil.pids()
    for pid in pids:
        with suppress(OSError):
            if os.getsid(pid) == leader:
                os.kill(pid, signal.SIGKILL)


def ending(status: int) -> str:
    """Say in words how a process ended, from its exit status (negative: a signal's number)."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name},"
    return f"ended with status {status},"
