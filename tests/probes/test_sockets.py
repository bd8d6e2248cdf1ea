"""Connections to a port are counted as psutil counts them, by state."""

import socket

import psutil
import pytest

from harness.probes import sockets


@pytest.fixture
def listener():
    """A listening socket on a free port, to which no connection of another test lingers.

    The port beside it is taken: no other test connects from there, which would look, at the other
    end of that connection, like one to this port.
    """
    lingering = {each.raddr.port for each in psutil.net_connections("tcp4") if each.raddr}
    while True:
        with socket.create_server(("127.0.0.1", 0)) as made, socket.socket() as beside:
            port = made.getsockname()[1]
            if port not in lingering and bound(beside, port ^ 1):
                yield made
                return


def bound(end, port):
    """Give a socket a port that nobody else has; return whether there is none who has it."""
    try:
        end.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_each_client_is_counted(listener):
    """As many as were connected, and none for another port; closed ones are no longer held."""
    address = listener.getsockname()
    clients = [socket.create_connection(address) for _ in range(7)]
    assert sockets.clients_by_state(address[1]) == {"ESTABLISHED": 7}
    assert "ESTABLISHED" not in sockets.clients_by_state(address[1] ^ 1)
    for client in clients:
        client.close()
    left = sockets.clients_by_state(address[1])
    assert sum(left.get(state, 0) for state in sockets.HELD) == 0


def test_a_peer_that_hung_up(listener):
    """A connection that only the other end has closed is in CLOSE_WAIT, and still held."""
    with socket.create_connection(listener.getsockname()):
        listener.accept()[0].close()
        assert sockets.clients_by_state(listener.getsockname()[1]) == {"CLOSE_WAIT": 1}
    assert "CLOSE_WAIT" in sockets.HELD


def test_other_systems_are_asked_through_psutil(listener, monkeypatch):
    """Where there is no sock_diag the count is the same."""
    monkeypatch.setattr(sockets.sys, "platform", "darwin")
    with socket.create_connection(listener.getsockname()):
        port = listener.getsockname()[1]
        assert sockets.clients_by_state(port) == {psutil.CONN_ESTABLISHED: 1}
