"""Runs a lab whose upstream crashes: `python -m tests.faults.crashing SECONDS MODULE [OPTION ...]`.

The upstream is in the lab's own process, so it is taken away from within: its port and all of its
connections at once, in the middle of whatever they carry.
"""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest import mock

from harness.cli import main
from labs import upstream


@asynccontextmanager
async def crashing(after_s, served, listener) -> AsyncIterator[None]:
    """Serve as `upstream.running` does, for `after_s` seconds at most."""
    serving = asyncio.create_task(served.serve(listener), name="upstream")
    asyncio.get_running_loop().call_later(after_s, _crash, served, serving)
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def _crash(served, serving: asyncio.Task[None]) -> None:
    for connection in served._server.connections:
        connection.transport.abort()
    serving.cancel()


def run(after_s: float, module: str, arguments: list[str]) -> int:
    """Run the lab; return its exit status."""
    lab = importlib.import_module(module).LAB
    return main(lab, module, arguments)


if __name__ == "__main__":
    moment_s = float(sys.argv[1])
    with mock.patch.object(
        upstream, "running", lambda served, listener: crashing(moment_s, served, listener)
    ):
        sys.exit(run(moment_s, sys.argv[2], sys.argv[3:]))
