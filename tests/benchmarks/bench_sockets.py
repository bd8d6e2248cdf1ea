"""A count of the connections to one port by state, with 5,000 open, against the usual tools."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from harness.probes import sockets

from .bench_counts import shell
from .measure import Limit, Table, against, in_turn

CONNECTIONS = 5000


@contextmanager
def connected(number: int) -> Iterator[int]:
    """Keep `number` connections open, both ends in this process; yield their port."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        address = listener.getsockname()
        kept = [(socket.create_connection(address), listener.accept()[0]) for _ in range(number)]
        try:
            yield address[1]
        finally:
            for pair in kept:
                for end in pair:
                    end.close()


def tables(rounds: int) -> list[Table]:
    """Time one count of the clients' ends."""
    with connected(CONNECTIONS) as port:
        process = psutil.Process()
        medians = in_turn(
            {
                "harness": lambda: sockets.clients_by_state(port),
                "psutil.net_connections": lambda: process.net_connections("tcp"),
                "ss -tan": shell(f"ss -tan 'dport = :{port}'"),
                "lsof -i": shell(f"lsof -nP -a -p {os.getpid()} -iTCP:{port}"),
            },
            rounds,
        )
    limits = [
        Limit("harness against psutil", medians["harness"] / medians["psutil.net_connections"], 0.1)
    ]
    rows = against(medians, "harness")
    return [Table("Counting 5,000 connections", ["", "median", "× harness"], rows, limits)]
