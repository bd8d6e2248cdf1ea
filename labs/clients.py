"""What the labs on HTTP clients share: gauges, the upstream's port, the counts."""

from harness.model import Gauge, Option
from harness.probes import sockets

REQUESTS = Gauge("app_requests_total", "Requests made", "Requests made")
OPEN = Gauge(
    "app_http_connections_open",
    "Open connections",
    "Open connections",
    "Connections to the upstream that this process holds.",
)
CLOSE_WAIT = Gauge(
    "app_http_connections_close_wait",
    "CLOSE_WAIT",
    "In CLOSE_WAIT",
    "Connections that the upstream has hung up and this process has not closed.",
)
UPSTREAM_PORT = Option(
    "--upstream-port",
    "port of the mock upstream; 0: any free one (8080 leaky, 8081 fixed)",
    "--leaky --upstream-port 9090",
    default=8080,
    is_port=True,
)


def held(port: int) -> int:
    """Count the connections to `port` whose client still holds a descriptor."""
    return sockets.held(sockets.clients_by_state(port))


def hung_up(port: int) -> int:
    """Count the connections to `port` that the other end has closed and this one has not."""
    return sockets.clients_by_state(port).get("CLOSE_WAIT", 0)
