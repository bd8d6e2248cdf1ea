"""`harness doctor` tries what the labs need: real files, real tools, and what is wrong is told."""

import io
import re
import shutil
import sys

import pytest

from harness import doctor
from harness.cli import OFFSETS, SERVER_PORT
from harness.clock import ManualClock
from harness.model import Variant
from harness.ports import listen
from harness.terminal import Terminal
from labs.clients import UPSTREAM_PORT


class LateClock(ManualClock):
    """One that wakes 50 ms after each moment that was waited for."""

    def wait_until(self, due_s):
        """Be late."""
        super().wait_until(due_s + 0.05)


def test_a_machine_that_can_run_the_labs_is_ready(place):
    """Files, a connection and lsof's own rows were counted; the exit status says it too."""
    if shutil.which("lsof") is None:
        pytest.skip("lsof is not installed")
    done = place.run("doctor", module="harness")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^✓ descriptors 3 open, 23 with 20 files more, 3 when", done.out, re.M)
    assert re.search(r"^✓ connections 1 made on loopback, 1 counted$", done.out, re.M)
    assert re.search(
        r"^✓ clock +20 waits of 10 ms, |^· clock .*\n +reports will be", done.out, re.M
    )
    assert re.search(r"^✓ lsof +answers, with [1-9]\d* rows$", done.out, re.M)
    assert done.lines[-1].startswith("Ready: all that the labs need was tried and works")


def test_a_tool_that_is_missing_has_a_stand_in_and_a_way_to_get_it(place, tmp_path):
    """No lab needs it: the machine is ready all the same."""
    done = place.run("doctor", module="harness", PATH=str(tmp_path))
    assert done.status == 0
    assert "· lsof        not installed: counts come from /proc or psutil, and say so\n" in done.out
    for tool in (doctor.LSOF, doctor.NETSTAT, *doctor.OTHERS):
        assert f"· {tool.name}" in done.out
        assert tool.install in done.out
    assert done.lines[-1].endswith("; what is marked · has a stand-in.")


def test_a_limit_that_no_leaky_run_fits_in_is_told(place):
    """It says what to raise, and the exit status is 1."""
    done = place.run("doctor", module="harness", limit=(256, 256))
    assert done.status == 1
    assert "✗ limit       256 descriptors, 256 when a run raises it\n" in done.out
    assert "raise the hard limit (ulimit -Hn)" in done.out
    assert done.lines[-1] == "Not ready: limit."


def test_a_port_in_use_is_told_with_its_holder():
    """And what to give instead."""
    with listen(0, "--port") as taken:
        number = taken.getsockname()[1]
        found = doctor.port(number)
    assert found.mark == doctor.STAND_IN
    assert re.fullmatch(rf"{number}: in use by .* \(pid \d+\)", found.said)
    assert "--port or --upstream-port" in found.then
    assert doctor.port(number).mark == doctor.READY


def test_the_ports_are_the_defaults_of_the_labs():
    """Of both variants' debug servers and upstreams."""
    variants = OFFSETS[Variant.LEAKY], OFFSETS[Variant.FIXED]
    options = SERVER_PORT, UPSTREAM_PORT
    assert [each.default + offset for each in options for offset in variants] == [*doctor.PORTS]


def test_counts_that_do_not_follow_what_is_open_are_told(tmp_path):
    """A container's /proc may be another one's; a probe that misses what is there misleads."""
    stuck = doctor.descriptors(tmp_path, count=lambda: 5)
    blind = doctor.connections(tmp_path, count=lambda _port: {})
    unknown = doctor.descriptors(tmp_path, count=lambda: None)
    assert [each.mark for each in (stuck, blind, unknown)] == [doctor.BROKEN] * 3
    assert stuck.said == "5 open, 5 with 20 files more, 5 when those are closed"
    assert blind.said == "1 made on loopback, 0 counted"


def test_connections_of_others_to_a_port_of_that_number_are_not_counted(tmp_path):
    """One is open all the while, and one that was closed long ago still waits for its end."""
    counts = iter([{"TIME_WAIT": 1, "ESTABLISHED": 1}, {"ESTABLISHED": 2}])
    found = doctor.connections(tmp_path, count=lambda _port: next(counts))
    assert found == doctor.Finding(doctor.READY, "connections", "1 made on loopback, 1 counted")


@pytest.mark.parametrize(
    ("clock", "mark", "late"),
    [(ManualClock(), doctor.READY, "0.0 ms late"), (LateClock(), doctor.STAND_IN, "50.0 ms late")],
)
def test_a_machine_that_is_late_is_told(clock, mark, late):
    """Reports will be late as well; they will be right, so it is no reason not to begin."""
    found = doctor.pace(clock)
    assert found.mark == mark
    assert late in found.said


def test_what_is_forbidden_is_told_and_the_rest_is_tried(monkeypatch, tmp_path):
    """A sandbox may allow no sockets; one line says so, no traceback."""

    def refuse(*_arguments):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(doctor, "listen", refuse)
    monkeypatch.setattr(doctor, "PORTS", ())
    out = io.StringIO()
    assert doctor.examine(Terminal(out), ManualClock()) == 1
    said = "[x] connections could not be tried: [Errno 1] Operation not permitted\n"
    assert said in out.getvalue()
    assert out.getvalue().endswith("\nNot ready: connections.\n")


def test_on_macos_there_is_no_ss_and_brew_installs(monkeypatch, tmp_path):
    """lsof and netstat come with the system."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "ss" not in {each.what for each in doctor.tools(tmp_path)}
    assert [tool.install for tool in (doctor.LSOF, *doctor.OTHERS[1:3])] == [
        "it comes with macOS",
        "brew install go",
        "brew install graphviz",
    ]


def test_a_folder_that_cannot_be_written_to_is_one_line(place):
    """Status 2: it could not be tried."""
    done = place.run("doctor", module="harness", TMPDIR="/no/such/folder")
    assert done.status == 2
    assert done.err.startswith(
        "harness doctor: error: cannot make a directory in /no/such/folder: "
    )
    assert done.err.count("\n") == 1
