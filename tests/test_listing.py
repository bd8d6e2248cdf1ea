"""Tools of the operating system may be missing, hang or talk rubbish: the view says so."""

import os
import re
import shutil
import time
from unittest.mock import Mock

import psutil
import pytest
from canned import run

from harness import connections, listing
from harness.limits import limited
from harness.listing import ToolError, open_files, output_of
from harness.probes import fds
from harness.stops import Stopped
from labs.course import catalogue

pytestmark = pytest.mark.usefixtures("collected")


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a shell script of a name first on PATH."""

    def make(name, script):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return make


@pytest.fixture
def own():
    """A run that is this process."""
    return run("leaky").__class__("doors", "leaky", os.getpid(), 50, 1024)


def listed():
    """How many descriptors this process has; `fds.count` has those of waiting `accept`s too."""
    return sum(1 for _ in fds.targets())


def figures(views):
    """Return every figure of views by its name."""
    return {name: value for view in views for name, value in view.figures.items()}


def test_lsof_lists_what_this_process_has_open(own, tmp_path):
    """Its rows are the descriptors, a header, and cwd, rtd and txt."""
    if shutil.which("lsof") is None:
        pytest.skip("lsof is not installed")
    before = figures(open_files(own, tmp_path, "logfile"))
    kept = [(tmp_path / f"logfile_{n}.txt").open("w") for n in range(30)]
    after = figures(open_files(own, tmp_path, "logfile"))
    for file in kept:
        file.close()
    assert before == {"lsof_rows": listed() + 4, "lsof_matching": 0, "proc_fds": listed()}
    assert {name: after[name] - before[name] for name in after} == dict.fromkeys(after, 30)


def test_without_lsof_the_descriptors_are_counted_and_the_view_says_so(own, tmp_path, monkeypatch):
    """Nothing is printed as lsof's that lsof did not print."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ls").symlink_to(shutil.which("ls"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    views = open_files(own, tmp_path, "logfile")
    assert views[0].source.startswith("lsof is not installed: descriptors counted from /")
    assert figures(views)["lsof_rows"] == listed()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo rubbish", "lsof printed something else than its table: 'rubbish'"),
        ("printf '\\377\\376\\n'", "lsof printed something else than its table: '��'"),
    ],
)
def test_rubbish_is_not_counted(script, why, own, tmp_path, tool):
    """A tool of the same name that does something else."""
    tool("lsof", script)
    views = open_files(own, tmp_path, "logfile")
    assert views[0].source.startswith(why)
    assert figures(views)["lsof_rows"] == listed()


def test_a_tool_that_cannot_be_run_is_told(own, tmp_path, tool):
    """A script whose interpreter is not there."""
    tool("lsof", "")
    (tmp_path / "bin" / "lsof").write_text("#!/no/such/shell\n")
    assert open_files(own, tmp_path, "x")[0].source.startswith("lsof could not be run: No such")


@pytest.mark.parametrize("script", ["printf '\\n \\n'", "echo x; echo y", "exit 3"])
def test_rubbish_of_the_others_is_not_counted_either(script, own, tmp_path, tool):
    """Each view says who answered in the tool's place."""
    for name in ("ss", "netstat", "ls"):
        tool(name, script)
    views = [*open_files(own, tmp_path, "x"), *connections.views(own, tmp_path, 80)]
    told = [view.source for view in views if "printed something else than" in view.source]
    assert [source.split()[0] for source in told] == ["ls", "ss", "netstat"]


def has_ended(pid):
    """Tell whether a process that was killed is gone, or only waits to be collected."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def hanging(tmp_path, tool):
    """An lsof that hangs, with a child of its own; returns the numbers of both when asked."""
    tool("lsof", f"sleep 60 & echo $$ $! > {tmp_path}/pids; wait")
    return lambda: [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def hangs(tmp_path, hanging):
    """Tell whether both processes have begun."""
    return (tmp_path / "pids").exists() and len(hanging()) == 2


def test_a_tool_that_hangs_is_ended(tmp_path, hanging, monkeypatch):
    """lsof does on a dead network share; its processes are gone afterwards."""

    def wait(pause_s, really=time.sleep):
        really(pause_s)
        while not hangs(tmp_path, hanging):  # a busy machine may take longer than the limit
            really(pause_s)

    began_s = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", wait)
        with pytest.raises(ToolError, match=r"lsof did not answer within 0\.5 s"):
            output_of(["lsof"], tmp_path, timeout_s=0.5)
    assert time.monotonic() - began_s < 30
    assert all(has_ended(pid) for pid in hanging())


def test_a_tool_that_hangs_ends_with_the_run(tmp_path, hanging, monkeypatch):
    """A signal raises in the middle of the waiting."""

    def stop(_pause_s):
        if hangs(tmp_path, hanging):
            raise Stopped(15)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(time, "sleep", stop)
        output_of(["lsof"], tmp_path)
    assert all(has_ended(pid) for pid in hanging())


def test_a_listing_needs_one_descriptor_to_read_its_answer(tmp_path, tool):
    """No pipe, no second one: the run lends its reserve at EMFILE."""
    tool("counts", "echo one; echo two")
    with limited(listed() + 1):
        assert output_of(["counts"], tmp_path) == ["one", "two"]


def test_no_descriptor_is_left_of_a_listing(tmp_path, tool):
    """Whatever it came to."""
    tool("counts", "echo one")
    before = listed()
    output_of(["counts"], tmp_path)
    with pytest.raises(ToolError):
        output_of(["no-such-tool"], tmp_path)
    assert listed() == before


def test_nothing_found_is_no_error(tmp_path, tool):
    """lsof exits with 1 and prints nothing then."""
    tool("lsof", "exit 1")
    assert listing.lsof(["-p", "1"], tmp_path) == []


def test_without_proc_no_tool_is_believed(own, tmp_path, monkeypatch, tool):
    """There lsof and netstat find nothing and call that no error: the count is not theirs."""
    tool("lsof", "exit 1")
    tool("netstat", "echo Active Internet connections")
    monkeypatch.setattr(listing, "has_proc", lambda: False)
    monkeypatch.setattr("psutil.Process", Mock(side_effect=psutil.NoSuchProcess(1)))
    views = [open_files(own, tmp_path, "x")[0], *connections.views(own, tmp_path, 80)]
    assert [view.source for view in views if view.source != "ss"] == [
        "lsof shows nothing without /proc: descriptors counted from fstat",
        "lsof shows nothing without /proc, and psutil cannot tell",
        "netstat shows nothing without /proc, and psutil cannot tell",
    ]
    assert figures(views)["lsof_rows"] == listed()
    assert not {"lsof_clients", "netstat_established"} & {*figures(views)}


@pytest.mark.parametrize("name", catalogue.names())
def test_what_a_lab_says_to_try_exists_on_macos(name):
    """There is no /proc, no ss and no ps that counts threads; something to try is left."""
    commands = catalogue.load(name).commands
    left = [line for line in commands if listing.exists_here(line, "darwin")]
    assert left
    assert not [line for line in left if re.search(r"/proc|\bss\b|nlwp", line)]
    assert [line for line in commands if listing.exists_here(line, "linux")] == [*commands]
