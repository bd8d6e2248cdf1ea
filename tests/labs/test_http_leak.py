"""The HTTP lab end to end: the guide's figures come out of real connections."""

import json
import re
import socket

import pytest
from running import Finished, ports_in
from wcwidth import wcswidth

LAB = "labs.http_leak"
ANY_PORTS = "--port=0", "--upstream-port=0"
QUICK = *ANY_PORTS, "--rate=100", "--report-every=0.5", "--duration=2"


def three_times(place):
    """Run both variants at the guide's pace three times in a row, as JSON."""
    runs = {}
    for turn in ("first", "second", "third"):
        started = {
            variant: place.start(f"--{variant}", "--json", *ANY_PORTS, module=LAB)
            for variant in ("leaky", "fixed")
        }
        runs |= {f"{variant} {turn}": run.end() for variant, run in started.items()}
    return runs


@pytest.fixture
def guide(once):
    """Three runs of each variant at the guide's pace; made once for all tests."""
    return once("http-guide", three_times)


def reports(run: Finished) -> list[dict]:
    """Return the objects of a JSON run's reports, the start first."""
    objects = [json.loads(line) for line in run.lines]
    return [each for each in objects if each["event"] == "report"]


def values(run: Finished, name: str) -> list[float]:
    """Return a gauge's value at the start and at each report."""
    return [each["values"][name] for each in reports(run)]


def result(run: Finished) -> dict:
    """Return the last object of a JSON run."""
    return json.loads(run.lines[-1])


@pytest.mark.parametrize("turn", ["first", "second", "third"])
@pytest.mark.parametrize(
    ("variant", "tasks", "connections", "leaking"),
    [
        ("leaky", [15, 28, 42, 46, 52], 48, True),
        ("fixed", [5, 5, 5, 5, 5], 2, False),
    ],
)
def test_the_guides_figures(variant, tasks, connections, leaking, turn, guide):
    """3 tasks grow to 52 beside 48 connections, or stay at 5 beside 2; always 250 requests."""
    run = guide[f"{variant} {turn}"]
    within = 2 if variant == "leaky" else 1
    assert values(run, "app_requests_total") == [0, 50, 100, 150, 200, 250]
    assert values(run, "app_tasks") == [3, *(pytest.approx(each, abs=within) for each in tasks)]
    last = values(run, "app_http_connections_open")[-1]
    assert last == pytest.approx(connections, abs=within)
    assert result(run)["verdict"]["leaking"] is leaking
    assert run.status == 0


def test_the_verdict_comes_when_the_guides_does(guide):
    """The warning stands after the third report, the all-clear after the second."""
    settled = {
        variant: [bool(each.get("verdict")) for each in reports(guide[f"{variant} first"])]
        for variant in ("leaky", "fixed")
    }
    assert settled["leaky"] == [False, False, False, True, False, False]
    assert settled["fixed"] == [False, False, True, False, False, False]


@pytest.mark.parametrize("variant", ["leaky", "fixed"])
def test_the_tools_of_the_system_agree(variant, guide):
    """What lsof, ss and netstat count at the end is what the last report counted."""
    run = guide[f"{variant} third"]
    counted = values(run, "app_http_connections_open")[-1]
    views = {view["source"]: view for view in result(run)["views"]}
    assert views["lsof"]["figures"]["lsof_clients"] == counted
    assert views["netstat"]["figures"]["netstat_established"] == counted
    assert f"{counted} ESTAB" in [line.strip() for line in views["ss"]["lines"]]


def test_what_the_tasks_wait_in(guide):
    """The leak shows as one place in the upstream with a task for each connection."""
    view = result(guide["leaky second"])["views"][-1]
    counted = values(guide["leaky second"], "app_http_connections_open")[-1]
    place = f"{counted} tasks in aiohttp.web_protocol.RequestHandler.start [IO wait]"
    assert place in [line.strip() for line in view["lines"]]
    assert view["lines"][0] == f"What the {counted + 3} tasks wait in:"


def test_console_lines(place):
    """The lines read as in the guide, with Python's word for a goroutine."""
    pace = "--rate=25", "--report-every=1", "--duration=4"
    run = place.run("--leaky", *ANY_PORTS, *pace, module=LAB)
    assert run.lines[1] == "[START] Tasks: 3"
    assert re.fullmatch(r"\[AFTER 1(\.\d)?s\] Tasks: \d+  \|  Requests made: 25", run.lines[2])
    assert "⚠️  WARNING: Connection leak detected!" in run.lines
    assert run.err == ""


def test_comparison(place):
    """Both at once end in a table: connections, requests per connection, and when the pool ends.

    It fits a terminal of 80 columns.
    """
    pace = "--rate=25", "--duration=4", "--report-every=1"
    run = place.run(*ANY_PORTS, *pace, "--format=json", module=LAB)
    rows = {row["metric"]: row for row in json.loads(run.out)}
    assert rows["Requests Made"] == {
        "metric": "Requests Made",
        "leaky": "100",
        "fixed": "100",
        "improvement": "Same",
    }
    per_connection = [float(rows["Connection Reuse"][key].split()[0]) for key in ("leaky", "fixed")]
    assert per_connection[0] < 6
    assert per_connection[1] > 20
    assert rows["Pool Empty at Request"]["leaky"].endswith("at this rate")
    assert rows["Pool Empty at Request"]["fixed"] == "never"
    assert rows["Risk Level"]["leaky"].endswith("Critical")
    assert int(rows["Open Connections"]["fixed"]) <= 3
    heads = {"metric": "", "leaky": "Leaky (10s)", "fixed": "Fixed (10s)", "improvement": ""}
    columns = ([head, *(row[key] for row in rows.values())] for key, head in heads.items())
    width = sum(max(wcswidth(cell) for cell in column) + len("|  ") for column in columns) + 1
    assert width <= 80


def test_a_pool_that_is_used_up(place):
    """The 12th failure takes the last of 12 connections; what waits then fails, and is counted.

    What waits for the pool at the end stands in the listing of the tasks, as in the last report.
    """
    arguments = "--pool=12", "--rate=25", "--duration=8", "--json", *ANY_PORTS
    run = place.run("--leaky", *arguments, module=LAB)
    (failure,) = result(run)["failures"]
    assert failure["kind"] == "httpx.PoolTimeout"
    assert failure["operation"] == 4 * 12 + 1
    assert failure["elapsed_s"] == pytest.approx(48 / 25 + 5, abs=0.5)
    assert failure["count"] > 10
    assert result(run)["operations"] == 200
    assert result(run)["verdict"]["leaking"] is True
    listing = result(run)["views"][-1]["lines"]
    tasks = int(re.search(r"What the (\d+) tasks wait in", listing[0])[1])
    assert tasks == pytest.approx(result(run)["values"]["app_tasks"], abs=3)
    assert re.fullmatch(r" +1\d\d tasks in httpcore\S+ \[.*\]", listing[1])


def test_an_upstream_that_hangs_up(place):
    """Leaked connections turn to CLOSE_WAIT when the upstream closes them, and are still a leak."""
    run = place.run("--leaky", "--json", "--upstream-keepalive=0.3", *QUICK, module=LAB)
    waiting = values(run, "app_http_connections_close_wait")
    assert waiting[1] > 0
    assert waiting == sorted(waiting)
    assert waiting[-1] > 20
    assert result(run)["verdict"]["leaking"] is True


def test_too_few_descriptors(place):
    """At the limit the run ends with the system's own error and what is open; exit status 1."""
    run = place.run("--leaky", "--ulimit=64", *QUICK, "--duration=10", module=LAB)
    assert run.status == 1
    assert "[Errno 24] Too many open files" in run.lines
    assert re.search(r"^ +5\d  socket$", run.out, re.M)
    assert run.err == ""


def test_the_fixed_gateway_needs_few(place):
    """Under the same limit the fixed variant runs to its end."""
    run = place.run("--fixed", "--ulimit=64", *QUICK, module=LAB)
    assert run.status == 0
    assert "✓ No leak! Connections properly reused" in run.lines


@pytest.mark.parametrize("flag", ["--port", "--upstream-port"])
def test_a_busy_port(flag, place):
    """Who holds a port is named, with the option that chooses another; exit status 2."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        run = place.run("--leaky", *ANY_PORTS, f"{flag}={port}", module=LAB)
    assert run.status == 2
    assert run.out == ""
    assert re.fullmatch(
        rf"labs.http_leak: error: {flag} {port}: in use by \S+ \(pid \d+\); "
        rf"choose another with {flag} \(0: any free port\)\n",
        run.err,
    )


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--pool=0"], "0"),
        (["--pool=1.5"], "1.5"),
        (["--upstream-keepalive=-1"], "-1"),
        (["--upstream-port=70000"], "70000"),
    ],
)
def test_nonsense(arguments, value, place):
    """A value that cannot be meant gets one line that names it, and exit status 2."""
    run = place.run(*arguments, module=LAB)
    assert (run.status, run.out) == (2, "")
    assert f"{value} is not a" in run.err
    assert run.err.count("\n") == 1


def test_without_the_tools(place, tmp_path):
    """Where lsof, ss and netstat are missing psutil counts, and each line says so."""
    run = place.run("--leaky", *QUICK, module=LAB, PATH=str(tmp_path))
    stand_ins = [line.strip() for line in run.lines if "from psutil" in line]
    assert stand_ins == [
        "(lsof is not installed: from psutil)",
        "(ss is not installed: from psutil)",
        "(netstat is not installed: from psutil)",
    ]
    assert len(ports_in(run.out)) == 1
