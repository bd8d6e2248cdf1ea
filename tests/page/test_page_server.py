"""What the debug server answers for the live page: the run, what is open, and to whom."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import canned
import pytest

from harness.index import application
from harness.model import Sample
from harness.page.live import Live, charted
from harness.page.routes import ROOT
from harness.report import Group
from harness.reserve import Reserve
from harness.samples import MOST, with_one_more
from harness.server import DebugServer
from harness.table import exhaustion_s
from tests.pprof.conftest import Server

FRAME = ("/srv/doors.py", 21, "Hall.open")
DOORS = Group("door", 20_000, (FRAME,), "", tuple(f"door {n}" for n in range(20_000)), (), 0.0)


class Looks:
    """Counts how often somebody looks for what is open, and with holders or without."""

    def __init__(self, cost_s: float = 0.0) -> None:
        self.asked: list[bool] = []
        self.cost_s = cost_s

    def __call__(self, with_holders: bool) -> list[tuple[Group, str]]:
        """Answer with 20,000 doors."""
        self.asked.append(with_holders)
        time.sleep(self.cost_s)
        return [(DOORS, "Hall._ajar (list)" if with_holders else "")]


@pytest.fixture
def live() -> Live:
    """The leaky run of the made-up lab, before it begins."""
    return Live(canned.LAB, beside=6061)


@pytest.fixture
def looks() -> Looks:
    """Looks that take a tenth of a second."""
    return Looks(cost_s=0.1)


@pytest.fixture
def server(live: Live, looks: Looks) -> Iterator[Server]:
    """Serve the page as a lab does."""
    reserve = Reserve()
    pages = application(dict, list, live, looks)
    debug_server = DebugServer(socket.create_server(("127.0.0.1", 0)), reserve, pages)
    debug_server.start()
    yield Server(debug_server.port, root="/")
    debug_server.stop()
    reserve.close()


def test_the_run_is_told_as_it_goes(server: Server, live: Live) -> None:
    """Nothing before it begins; each event changes what is told, the last one that it ended."""
    assert run_of(server)["samples"] == []
    run = canned.run("leaky")
    told = []
    for event in canned.events(run):
        live(event)
        told.append(run_of(server))
    assert [each["changes"] for each in told] == list(range(1, len(told) + 1))
    assert [each["ended"] for each in told] == [False] * (len(told) - 1) + [True]
    last = told[-1]
    assert [each["values"]["process_open_fds"] for each in last["samples"]] == [
        sample.values[canned.OPEN_FDS] for sample in run.samples
    ]
    assert last["verdict"] == {"leaking": True, "says": canned.LAB.warning}
    assert last["limit"] == {
        "gauge": "process_open_fds",
        "value": 20000,
        "reached_after_s": exhaustion_s(run, 20000),
    }
    assert last["evidence"] == list(canned.EVIDENCE)


def run_of(server: Server, after: str = "") -> dict:
    """Return the run as the server tells it."""
    return json.loads(server.get(f"page/run.json{after}").body)


def test_failures_and_the_end_of_descriptors_are_told(live: Live) -> None:
    """As the system said it, with the figures of that moment."""
    run = replace(
        canned.run("leaky", reports=2), failures=canned.FAILURES, exhaustion=canned.EXHAUSTION
    )
    for event in canned.events(run)[:-1]:
        live(event)
    told = live.as_json()
    assert told["exhaustion"] == "[Errno 24] Too many open files: 'door_248'"
    assert told["samples"][-1]["values"]["process_open_fds"] == 256
    assert told["failures"] == ["ValueError: no such door", "TimeoutError: "]
    assert told["ended"] is False


def test_a_request_can_wait_for_the_next_change(server: Server, live: Live) -> None:
    """It is answered as the event comes, not when the wait is over."""
    live(canned.events(canned.run("leaky"))[0])
    answers = []
    asking = threading.Thread(target=lambda: answers.append(run_of(server, "?after=1")))
    asking.start()
    asking.join(0.3)
    assert answers == []
    live(canned.events(canned.run("leaky"))[1])
    asking.join()
    assert [each["changes"] for each in answers] == [2]


def test_who_waits_for_a_change_is_in_no_picture(server: Server, live: Live) -> None:
    """The profile of tasks has the server's own task, and not those that answer the page."""
    live(canned.events(canned.run("leaky"))[0])
    asking = threading.Thread(target=lambda: run_of(server, "?after=1"))
    asking.start()
    time.sleep(0.2)
    tasks = server.get("debug/pprof/goroutine?debug=2").text
    live(canned.events(canned.run("leaky"))[1])
    asking.join()
    assert "DebugServer._serve" in tasks
    assert "harness/page" not in tasks


@pytest.mark.parametrize("after", ["-5", "x", "1e3", "٣"])
def test_nonsense_is_told(server: Server, after: str) -> None:
    """With the value and what to give."""
    from urllib.parse import quote

    answer = server.get(f"page/run.json?after={quote(after)}")
    assert answer.status == 400
    assert answer.text == f"after={after!r}: give the number of changes seen so far\n"


def test_a_long_run_keeps_its_whole_curve_in_few_points() -> None:
    """They stay spread over all of its time, the first and the last among them."""
    samples: tuple[Sample, ...] = ()
    for number in range(5_000):
        samples = with_one_more(samples, Sample(float(number), number, {}))
        assert len(samples) <= MOST
        assert (samples[0].operations, samples[-1].operations) == (0, number)
    gaps = [later.operations - one.operations for one, later in pairwise(samples)]
    assert max(gaps) <= 5_000 / MOST * 4


def test_counters_are_not_drawn() -> None:
    """What only rises says nothing about a leak: what the lab watches comes first."""
    assert [gauge.name for gauge in charted(canned.LAB)] == [
        "process_open_fds",
        "app_tasks",
        "process_resident_memory_bytes",
    ]


def test_twenty_thousand_of_a_kind_are_one_row_that_is_looked_for_once(
    server: Server, looks: Looks
) -> None:
    """Ten visitors at once cost the run one look, and get three names and a number each."""
    looks.cost_s = 1.0  # paid off after ten seconds, however slow the visitors are
    server.get("page/open.json?holders=1")
    bodies = [server.get("page/open.json?holders=1").body for _ in range(10)]
    assert looks.asked == [True]
    assert len(set(bodies)) == 1
    assert json.loads(bodies[0]) == [
        {
            "count": 20_000,
            "noun": "doors",
            "origin": "opened at /srv/doors.py:21 in Hall.open",
            "held_by": "Hall._ajar (list)",
            "stack": ["/srv/doors.py:21 in Hall.open"],
            "targets": ["door 0", "door 1", "door 2"],
            "more_targets": 19_997,
        }
    ]


def test_holders_are_looked_for_only_on_request(server: Server, looks: Looks) -> None:
    """The search takes memory, which the run would show as its own."""
    assert json.loads(server.get("page/open.json").body)[0]["held_by"] == ""
    assert looks.asked == [False]


def test_a_run_that_has_ended_is_not_looked_at(server: Server, live: Live, looks: Looks) -> None:
    """Its resources are being given back: what was seen before is what it had."""
    before = server.get("page/open.json?holders=1").body
    for event in canned.events(canned.run("leaky")):
        live(event)
    time.sleep(1.1)
    assert server.get("page/open.json?holders=1").body == before
    assert looks.asked == [True]


@pytest.mark.parametrize("page", ["", "debug/pprof/"])
def test_the_pages_lead_to_the_metrics(server: Server, live: Live, page: str) -> None:
    """The live page and the list of profiles link to what Prometheus scrapes."""
    for event in canned.events(canned.run("leaky")):
        live(event)
    assert 'href="/metrics"' in server.get(page).text
    assert "process_open_fds 508.0" in server.get("metrics").text


def test_the_twin_on_another_port_may_read_and_no_other_page(server: Server) -> None:
    """A page on the web gets no header that lets it read, nor an answer under a name of its own."""
    allowed = "Access-Control-Allow-Origin"
    for path in ("page/run.json", "page/open.json"):
        twin = server.get(path, Origin="http://127.0.0.1:6061")
        assert twin.headers[allowed] == "http://127.0.0.1:6061"
        for origin in ("http://evil.example", "null", "http://127.0.0.1.evil.example", "http://["):
            assert server.get(path, Origin=origin).headers[allowed] is None
    assert server.get("", Host="evil.example").status == 403
    assert server.get("page/run.json", Host="evil.example").status == 403


def test_the_page_may_load_nothing_from_elsewhere(server: Server) -> None:
    """Its policy says so to the browser, and its files name no other address."""
    page = server.get("")
    assert page.status == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for name in ("page.html", "page.css", "page.js", "chart.js"):
        text = server.get(f"{ROOT[1:]}{name}").text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
