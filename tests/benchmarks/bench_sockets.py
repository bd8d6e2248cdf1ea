"""A count of the connections to one port by state, with 5,000 open, against the usual tools."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from harness.probes import sockets

from .measure import Effort, Limit, Table, Work, against, command, in_turn, ratio

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


def tables(effort: Effort) -> list[Table]:
    """Time one count of the clients' ends."""
    ours, theirs = "harness", "psutil.net_connections"
    with connected(CONNECTIONS) as port:
        process = psutil.Process()
        works: dict[str, Work] = {
            ours: lambda: sockets.clients_by_state(port),
            theirs: lambda: process.net_connections("tcp"),
            "ss -tan": command(f"ss -tan 'dport = :{port}'"),
            "lsof -i": command(f"lsof -nP -a -p {os.getpid()} -iTCP:{port}"),
        }
        assert sockets.clients_by_state(port) == {"ESTABLISHED": CONNECTIONS}
        medians = in_turn(works, effort)
    rows = against(medians, ours, Limit(ratio(medians, ours, theirs), "× psutil", 0.1, 0.15))
    return [Table("One count of 5,000 connections", ["", "median", "× harness"], rows)]
