"""The HTTP lab ends as cleanly as the file lab, with an event loop, an upstream and a pool."""

import json
import signal
import subprocess
import sys
import time

import pytest
from running import ROOT, becomes_free, ports_in

LAB = "labs.http_leak"
QUICK = "--report-every=0.4", "--port=0", "--upstream-port=0"
BEGUN = r"AFTER \d"


def check(place, text):
    """Demand that nothing is left of the labs in `place`, nor of the ports that `text` names."""
    assert place.leftovers() == []
    assert all(becomes_free(port, within_s=5) for port in ports_in(text))


@pytest.mark.parametrize(
    ("signals", "status"),
    [
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGINT], 143),
        ([signal.SIGHUP], 129),
    ],
)
@pytest.mark.parametrize("variant", [["--leaky"], ["--fixed"], []], ids=["leaky", "fixed", "both"])
def test_a_signal_ends_a_run_with_what_was_measured_so_far(variant, signals, status, place):
    """Each signal gives its exit status, one that comes while the run ends changes nothing."""
    started = place.start(*variant, *QUICK, module=LAB)
    started.see(BEGUN)
    for number in signals:
        started.process.send_signal(number)
        time.sleep(0.1)
    run = started.end()
    assert (run.status, run.err) == (status, "")
    assert ("| Tasks " in run.out) if not variant else ("Interrupted; measured" in run.out)
    check(place, run.out)


@pytest.mark.parametrize("gap_s", [0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035])
def test_a_signal_in_the_middle_of_a_request_is_silent(gap_s, place):
    """Whatever the event loop was doing, nothing but the summary is printed."""
    started = place.start("--leaky", *QUICK, "--rate=100", module=LAB)
    started.see(BEGUN)
    time.sleep(gap_s)
    started.process.send_signal(signal.SIGTERM)
    run = started.end()
    assert (run.status, run.err) == (143, "")
    check(place, run.out)


def test_the_last_figures_of_an_interrupted_run_have_all_its_tasks(place):
    """They are taken before the loop's end cancels them: one task for each open connection."""
    ports = "--port=0", "--upstream-port=0"
    started = place.start(
        "--leaky", "--json", "--report-every=0.2", "--forever", *ports, module=LAB
    )
    started.see('"operations": 50')
    started.process.send_signal(signal.SIGINT)
    values = json.loads(started.end().lines[-1])["values"]
    assert values["app_http_connections_open"] > 10
    assert values["app_tasks"] >= values["app_http_connections_open"]


def test_a_killed_parent_takes_its_children_with_it(place):
    """SIGKILL gives the comparison no chance to tell them: they see it by themselves."""
    started = place.start(*QUICK, module=LAB)
    started.see(f"leaky +.{BEGUN}")
    started.see(f"fixed +.{BEGUN}")
    started.process.kill()
    run = started.end()
    check(place, run.out)


@pytest.mark.parametrize("arguments", ["--leaky", "--fixed --json", ""])
def test_a_closed_output_ends_the_run(arguments, place):
    """As with `| head -1`: no traceback, and nothing left."""
    command = f"{sys.executable} -m {LAB} {arguments} {' '.join(QUICK)}"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        env=place.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (141, "")
    check(place, done.stdout)
