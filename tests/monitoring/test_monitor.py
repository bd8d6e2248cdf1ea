"""`python -m harness monitor`: a real Prometheus, both runs, the alert, and nothing left behind."""

import json
import re
import shutil
import signal
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
from running import Finished, Place

from harness import command
from harness.errors import UsageError
from harness.monitoring.cli import changes, lab_in, main

QUICK = ("monitor", "--speed", "100", "labs.file_leak", "--rate", "200")
READY = "The times in the alert rules"


@dataclass(frozen=True)
class Monitored:
    """What was seen while a lab was monitored, and how that ended.

    `pages` are the statuses of the printed addresses, `files` the count that Prometheus has of
    each run, `alerts` the names of each run's alerts that it has seen in any state.
    """

    run: Finished
    pages: dict[str, int]
    files: dict[str, float]
    alerts: dict[str, set[str]]
    left: list[str]


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Monitored]:
    """What was seen at each attempt; all tests ask of the same one."""
    return cache(lambda _: monitor(tmp_path_factory))


@pytest.fixture
def monitored(attempts: Callable[[int], Monitored], attempt: int) -> Monitored:
    """A monitored lab: the first, for a test that failed on it another one."""
    return attempts(attempt)


def monitor(tmp_path_factory: pytest.TempPathFactory) -> Monitored:
    """Monitor the file lab until its alert has fired, look around, and type Ctrl-C."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    place = Place(tmp_path_factory.mktemp("monitor") / "tmp")
    try:
        started = place.start(*QUICK, module="harness")
        started.see("leaky.*FileDescriptorLeak firing", timeout_s=60)
        told = started.see(f"(?s)Open in a browser:(.*){READY}")[1]
        urls = re.findall(r"http://\S+", told)
        pages = {url: get(url)[0] for url in urls}
        base = re.match(r"http://[^/]+", urls[0])[0]
        found = asked(base, "last_over_time(app_files_open[1m])")
        files = {variant: value for variant, _, value in found}
        alerts: dict[str, set[str]] = {"leaky": set(), "fixed": set()}
        for variant, alert, _ in asked(base, "max_over_time(ALERTS[1h])"):
            alerts[variant].add(alert)
        started.process.send_signal(signal.SIGINT)
        return Monitored(started.end(), pages, files, alerts, place.leftovers())
    finally:
        place.kill_all()


def get(url: str) -> tuple[int, str]:
    """Return the status and the text at `url`."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.status, answer.read().decode()


def asked(base: str, expression: str) -> list[tuple[str, str, float]]:
    """Return what Prometheus answers to an expression: variant, alert and value of each series."""
    query = urllib.parse.urlencode({"query": expression})
    found = json.loads(get(f"{base}/api/v1/query?{query}")[1])["data"]["result"]
    return [
        (each["metric"]["variant"], each["metric"].get("alertname", ""), float(each["value"][1]))
        for each in found
    ]


def test_the_alert_is_pending_and_then_fires_for_the_leaky_run(monitored: Monitored) -> None:
    """In this order, each told in a line with the run's time."""
    said = re.findall(
        r"^(\w+)  \[AFTER [\d.]+s\] FileDescriptorLeak (\w+)$", monitored.run.out, re.M
    )
    assert said[0] == ("leaky", "pending")
    assert ("leaky", "firing") in said
    assert "FileDescriptorLeak" in monitored.alerts["leaky"]


def test_no_alert_is_ever_active_for_the_fixed_run(monitored: Monitored) -> None:
    """Not for a moment, as Prometheus remembers it; it was scraped all the same."""
    assert monitored.alerts["fixed"] == set()
    assert monitored.files["leaky"] > 500
    assert monitored.files["fixed"] == 0


def test_every_address_that_is_printed_answers(monitored: Monitored) -> None:
    """Graph, alerts, live page, and the metrics of both."""
    assert list(monitored.pages.values()) == [200] * 5


def test_ctrl_c_ends_all_of_it(monitored: Monitored) -> None:
    """Status 130, no complaint; neither process nor file is left."""
    assert (monitored.run.status, monitored.run.err) == (130, "")
    assert monitored.left == []


def test_killed_it_leaves_nothing_either(place: Place) -> None:
    """Prometheus and both runs notice that nobody is there any more."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus is not installed")
    started = place.start(*QUICK, module="harness")
    started.see(READY)
    started.process.kill()
    started.end()
    assert place.leftovers(within_s=10) == []


def test_without_prometheus_it_says_how_to_get_it(monkeypatch, capsys) -> None:
    """One line, before anything is started."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("harness.stops.stop_on_signals", lambda: None)
    assert main(["labs.file_leak"]) == command.USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "prometheus is not installed: apt install prometheus" in err
    assert "brew install prometheus" in err


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (None, "MODULE is missing"),
        ("labs.nope", "labs.nope: cannot be imported"),
        ("harness.cli", "harness.cli: there is no LAB in it"),
    ],
)
def test_what_is_no_lab_is_told(module: str | None, says: str) -> None:
    """With what to give instead."""
    with pytest.raises(UsageError, match=says) as raised:
        lab_in(module)
    assert "give the module of a lab, labs.NAME" in str(raised.value)


def test_options_that_say_otherwise_are_refused(monkeypatch, capsys) -> None:
    """Both run, each with its server."""
    monkeypatch.setattr("harness.monitoring.prometheus.find", lambda: "prometheus")
    monkeypatch.setattr("harness.stops.stop_on_signals", lambda: None)
    for option in ("--leaky", "--no-server", "--hold"):
        assert main(["labs.file_leak", option]) == command.USAGE
        assert f"error: {option}: both variants run here" in capsys.readouterr().err


def test_each_change_of_an_alert_is_told_once() -> None:
    """From nothing to pending to firing to resolved."""
    alert = ("leaky", "Doors")
    assert list(changes({}, {alert: "pending"})) == [(*alert, "pending")]
    assert list(changes({alert: "pending"}, {alert: "pending"})) == []
    assert list(changes({alert: "pending"}, {alert: "firing"})) == [(*alert, "firing")]
    assert list(changes({alert: "firing"}, {})) == [(*alert, "resolved")]
