"""What a count of connections costs, against psutil's: `python tests/benchmarks/bench_sockets.py`.

Both are timed in turn in one process with 5,000 connections, whose both ends are open here. Exit
status 1 when ours takes a tenth of psutil's time or more.
"""

import resource
import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil

from harness.probes import sockets

CONNECTIONS = 5000
ROUNDS = 7
LIMIT = 0.1


def timed_s(call: Callable[[], object]) -> float:
    """Return how long `call` takes, in seconds."""
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def main() -> int:
    """Print the medians and their ratio; return the exit status."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]
    kept = [
        (socket.create_connection(("127.0.0.1", port)), listener.accept())
        for _ in range(CONNECTIONS)
    ]
    process = psutil.Process()
    pairs = [
        (
            timed_s(lambda: sockets.clients_by_state(port)),
            timed_s(lambda: process.net_connections("tcp")),
        )
        for _ in range(ROUNDS)
    ]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours_s, theirs_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"{len(kept)} connections: ours {ours_s * 1e3:.1f} ms, "
        f"psutil {theirs_s * 1e3:.1f} ms, ratio {ratio:.3f} (limit {LIMIT})"
    )
    return 0 if ratio < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
