"""Whatever ends a run, no directory, process or port of it is left."""

import json
import queue
import signal
import subprocess
import sys
import time

import psutil
import pytest
from running import ROOT, becomes_free, ports_in

from harness import cli, compare
from harness.errors import UsageError
from harness.model import Variant
from harness.probes import fds
from labs.file_leak import LAB

QUICK = "--report-every=0.1", "--rate=100", "--port=0"
TOGETHER = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
STOPS = [
    pytest.param([signal.SIGINT], 130, id="ctrl-c"),
    pytest.param([signal.SIGINT, signal.SIGINT], 130, id="ctrl-c-twice"),
    pytest.param([signal.SIGTERM], 143, id="sigterm"),
    pytest.param([signal.SIGHUP], 129, id="sighup"),
]


def check(place, text):
    """Demand that nothing is left of the labs in `place`, nor of the ports that `text` names."""
    assert place.leftovers() == []
    assert all(becomes_free(port, within_s=5) for port in ports_in(text))


@pytest.mark.parametrize("variant", ["leaky", "fixed"])
def test_after_its_end_nothing_is_left(variant, place):
    """The directory with the files is there during the run, and gone after it."""
    started = place.start(f"--{variant}", "--duration=1", *QUICK)
    started.see("Files opened: 30")
    (directory,) = place.tmp.glob(f"leak-lab-{started.pid}-*")
    assert len(list(directory.glob("logfile_*.txt"))) >= 30
    run = started.end()
    assert run.status == 0
    assert len(ports_in(run.out)) == 1
    check(place, run.out)


@pytest.mark.parametrize(("signals", "status"), STOPS)
@pytest.mark.parametrize("variant", [["--leaky"], ["--fixed"], []], ids=["leaky", "fixed", "both"])
def test_a_signal_ends_a_run_with_what_was_measured_so_far(variant, signals, status, place):
    """Each signal gives its exit status, the second Ctrl-C finds the run ending already."""
    started = place.start(*variant, *QUICK)
    started.see("leaky +.*Files opened: 30" if not variant else "Files opened: 30")
    for number in signals:
        started.process.send_signal(number)
    run = started.end()
    assert run.status == status
    assert run.err == ""
    if variant:
        assert "Interrupted; measured so far:\n[AFTER " in run.out
    else:
        assert "| Open File Descriptors" in run.out
    check(place, run.out)


@pytest.mark.parametrize("variant", [["--leaky"], []], ids=["leaky", "both"])
def test_of_signals_that_come_together_one_ends_the_run(variant, place):
    """The others find it ending, and nobody complains of them."""
    started = place.start(*variant, *QUICK)
    started.see("leaky +.*Files opened: 30" if not variant else "Files opened: 30")
    for number in TOGETHER:
        started.process.send_signal(number)
    run = started.end()
    assert run.status in {128 + number for number in TOGETHER}
    assert run.err == ""
    check(place, run.out)


def test_an_interrupted_json_run_still_writes_its_result(place):
    """The last line is the result, and says that it was interrupted."""
    started = place.start("--leaky", "--json", *QUICK)
    started.see('"operations": 30')
    started.process.send_signal(signal.SIGINT)
    run = started.end()
    result = json.loads(run.lines[-1])
    assert result["interrupted"] is True
    assert result["values"]["app_files_opened_total"] >= 30
    check(place, run.out)


@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.3, 0.45, 0.6])
@pytest.mark.parametrize("variant", [["--leaky"], []], ids=["leaky", "both"])
def test_a_signal_while_it_starts_leaves_nothing_either(variant, delay_s, place):
    """Whatever it has set up by then is taken down again, and nobody sees a traceback."""
    started = place.start(*variant, *QUICK)
    time.sleep(delay_s)
    started.process.send_signal(signal.SIGTERM)
    run = started.end()
    assert run.status in (143, -signal.SIGTERM)
    assert "Traceback" not in run.err
    check(place, run.out)


SLOW = """
import os, sys
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "harness":
            os.write(1, b"loading\\n")
            while True:
                pass
sys.meta_path.insert(0, Slow())
"""


def test_ctrl_c_while_it_is_loaded_shows_no_traceback(place, tmp_path):
    """A disk that is slow to give the libraries makes that a long time."""
    (tmp_path / "sitecustomize.py").write_text(SLOW, encoding="utf-8")
    started = place.start(*QUICK, PYTHONPATH=f"{tmp_path}:{ROOT}")
    started.see("loading")
    started.process.send_signal(signal.SIGINT)
    run = started.end()
    assert (run.status, run.err) == (-signal.SIGINT, "")


def test_importing_the_labs_takes_no_signal():
    """Only their own command line does."""
    code = "import signal, labs; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "default_int_handler\n"


def test_after_running_out_of_descriptors_nothing_is_left(place):
    """The end that the operating system makes is an end like any other."""
    run = place.run("--leaky", "--ulimit=100", "--duration=5", *QUICK)
    assert run.status == 1
    check(place, run.out)


def test_the_comparison_survives_one_run_that_runs_out(place):
    """The leaky run ends at its limit, the fixed one goes on; the exit status says so."""
    run = place.run("--ulimit=100", "--duration=1.5", *QUICK)
    assert run.status == 1
    assert "leaky  [Errno 24] Too many open files" in run.out
    assert "] Open FDs: 8  |  Files opened: 150" in run.out
    assert "| 100 " in next(line for line in run.lines if line.startswith("| Open File"))
    check(place, run.out)


@pytest.mark.parametrize("arguments", ["--leaky", "--leaky --json", "--fixed", "", "--json"])
def test_a_closed_output_ends_the_run(arguments, place):
    """As with `| head -1`: no traceback, no waiting for the end, nothing left."""
    command = f"{sys.executable} -m labs.file_leak {arguments} {' '.join(QUICK)}"
    began_s = time.monotonic()
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
    assert len(done.stdout.splitlines()) == 1
    assert time.monotonic() - began_s < 8
    check(place, done.stdout)


def test_a_killed_parent_takes_its_children_with_it(place):
    """SIGKILL gives the comparison no chance to tell them: they see it by themselves."""
    started = place.start(*QUICK)
    started.see("leaky +.*Files opened: 30")
    started.see("fixed +.*Files opened: 30")
    assert len(place.alive()) == 3
    assert len(list(place.tmp.glob("leak-lab-*"))) == 2
    started.process.kill()
    run = started.end()
    check(place, run.out)


def test_a_killed_child_does_not_hang_the_comparison(place):
    """What was measured of it until then is in the table, its directory is swept up."""
    started = place.start("--duration=2", *QUICK)
    started.see("leaky +.*Files opened: 30")
    started.see("fixed +.*Files opened: 30")
    leaky = next(child for child in psutil.Process(started.pid).children() if is_leaky(child))
    leaky.kill()
    run = started.end()
    assert run.status == 1
    assert "] Open FDs: 8  |  Files opened: 200" in run.out
    assert "| Open File Descriptors" in run.out
    check(place, run.out)


def test_what_a_killed_child_had_started_ends_too(place, monkeypatch):
    """It hung, was killed, and could not end the tool that it waited for."""
    monkeypatch.setenv("TMPDIR", str(place.tmp))
    monkeypatch.setattr(compare, "GRACE_S", 0.0)
    lines: compare.Lines = queue.Queue()
    hangs = ["bash", "-c", "set -m; sleep 300 & echo begun; wait"]
    child = compare.Child(hangs, Variant.LEAKY, LAB, lines)
    assert lines.get(timeout=30) == (Variant.LEAKY, "begun\n")
    assert len(place.alive()) == 2
    assert child.finish() == -signal.SIGKILL
    assert place.leftovers() == []


def test_what_else_a_child_prints_does_not_end_the_comparison(capsys):
    """A library's greeting, or half a line of a child that was killed as it wrote."""
    prints = ["bash", "-c", "echo hello; echo '{}'; printf '{\"event\": \"rep'"]
    lines: compare.Lines = queue.Queue()
    child = compare.Child(prints, Variant.FIXED, LAB, lines)
    came = iter(lambda: lines.get(timeout=30)[1], None)
    assert [list(child.events(line)) for line in came] == [[], [], []]
    assert child.finish() == 0
    assert capsys.readouterr().err == 'fixed  hello\nfixed  {}\nfixed  {"event": "rep\n'


def test_a_child_that_cannot_be_started_is_told(place, monkeypatch):
    """No more processes are allowed: one line, and the child that did start is ended."""
    monkeypatch.setenv("TMPDIR", str(place.tmp))
    starts = iter([subprocess.Popen])

    def popen(*arguments, **settings):
        try:
            return next(starts)(*arguments, **settings)
        except StopIteration:
            raise BlockingIOError(11, "Resource temporarily unavailable") from None

    monkeypatch.setattr(compare.subprocess, "Popen", popen)
    options = cli.parse(LAB, "labs.file_leak", ["--port=0"])
    with pytest.raises(UsageError, match=r"cannot start the fixed run .*: Resource temporarily"):
        compare.compare(LAB, "labs.file_leak", options)
    assert place.leftovers() == []


def is_leaky(process):
    """Tell whether a child of the comparison runs the leaky variant."""
    return "--leaky" in process.cmdline()


def test_held_runs_stay_until_ctrl_c(place):
    """`--hold` keeps what has leaked open to be looked at after the last report."""
    started = place.start("--leaky", "--hold", "--duration=0.5", *QUICK)
    started.see("Files opened: 50$")
    time.sleep(0.5)
    assert fds.count(started.pid) == 58
    started.process.send_signal(signal.SIGINT)
    run = started.end()
    assert run.status == 130
    check(place, run.out)
