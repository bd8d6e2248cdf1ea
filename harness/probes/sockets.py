"""How many TCP connections lead to a port, by state, without a look at every descriptor."""

import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Mapping

STATES = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
}
"""The kernel's numbers (include/net/tcp_states.h) and the names that ss and netstat print."""

HELD = ("ESTABLISHED", "SYN_SENT", "CLOSE_WAIT")
"""States in which the connecting program still holds a descriptor."""

SOCK_DIAG, DUMP_REQUEST, DIAG_BY_FAMILY, ERROR, DONE = 4, 0x301, 20, 2, 3
PORT_AT_LEAST, PORT_AT_MOST = 4, 5


def clients_by_state(port: int) -> Mapping[str, int]:
    """Count the IPv4 connections to `port`, at the connecting end, by state.

    On Linux the kernel counts with a filter of ours (sock_diag(7)): the cost is that of the
    connections to this port. Elsewhere psutil looks at every descriptor of this process.
    Connections of other processes to the same port count on Linux too.
    """
    if sys.platform == "linux":
        return Counter(STATES.get(state, str(state)) for state in _states(_request(port)))
    return clients_by_psutil(port)


def held(states: Mapping[str, int]) -> int:
    """Count those of connections by state whose client still holds a descriptor."""
    return sum(states.get(state, 0) for state in HELD)


def clients_by_psutil(port: int) -> Mapping[str, int]:
    """Count the same by a look at every descriptor of this process, on every system."""
    import psutil

    ends = psutil.Process().net_connections("tcp4")
    return Counter(end.status for end in ends if tuple(end.raddr)[1:] == (port,))


def _request(port: int) -> bytes:
    """Build the request for all TCP sockets whose peer has `port`: header, selection, filter.

    The filter is two comparisons, each of two 4-byte words; on failure it jumps past its end,
    which rejects the socket (include/uapi/linux/inet_diag.h).
    """
    anything = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + bytes(48)
    at_least = struct.pack("=BBHBBH", PORT_AT_LEAST, 8, 20, 0, 0, port)
    at_most = struct.pack("=BBHBBH", PORT_AT_MOST, 8, 12, 0, 0, port)
    code = struct.pack("=HH", 4 + len(at_least + at_most), 1) + at_least + at_most
    body = anything + code
    return struct.pack("=IHHII", 16 + len(body), DIAG_BY_FAMILY, DUMP_REQUEST, 1, 0) + body


def _states(request: bytes) -> Iterator[int]:
    """Send a sock_diag request and yield the state of each socket in the answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, SOCK_DIAG) as diag:
        diag.send(request)
        while True:
            answer = diag.recv(1 << 18)
            at = 0
            while at < len(answer):
                length, kind = struct.unpack_from("=IH", answer, at)
                if kind == DONE:
                    return
                if kind == ERROR:
                    raise OSError(-struct.unpack_from("=i", answer, at + 16)[0], "sock_diag")
                yield answer[at + 17]
                at += (length + 3) & ~3
