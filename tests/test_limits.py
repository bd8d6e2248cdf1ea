"""The process's own limits: descriptors, the one in reserve, a directory to work in."""

import math
import os
import resource
import subprocess
import sys

import pytest
from running import ROOT

from harness import limits, workdir
from harness.errors import UsageError
from harness.probes import fds
from harness.reserve import Reserve

pytestmark = pytest.mark.usefixtures("collected")


def in_child(code, soft=256, hard=1024):
    """Run code in a process with limits of its own; return what it prints."""
    prelude = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
    done = subprocess.run(
        [sys.executable, "-c", prelude + code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("needed", "notice", "soft"),
    [
        (200, "None", 256),
        (256, "None", 256),
        (540, "descriptor limit raised from 256 to 540 for this run (ulimit -n)", 540),
        (1e6, "descriptor limit raised from 256 to 1024 for this run (ulimit -n)", 1024),
        (540.2, "descriptor limit raised from 256 to 540 for this run (ulimit -n)", 540),
        (math.inf, "descriptor limit raised from 256 to 1024 for this run (ulimit -n)", 1024),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_needed_and_allowed(needed, notice, soft):
    """It says so in one line, and only when it did."""
    code = f"from math import inf; from harness import limits; print(limits.raise_to({needed}))"
    assert in_child(f"{code}; print(limits.soft())").splitlines() == [notice, str(soft)]


def test_at_the_hard_limit_nothing_is_raised_or_claimed():
    """There is no line about what did not happen."""
    code = "from harness import limits; print(limits.raise_to(4096), limits.soft(), limits.hard())"
    assert in_child(code, 256, 256) == "None 256 256"


def test_a_limit_holds_for_its_block_only():
    """Afterwards the limit is what it was, also after an error."""
    before = limits.soft()
    with pytest.raises(KeyError), limits.limited(fds.count() + 40):
        assert limits.soft() < before
        raise KeyError
    assert limits.soft() == before
    with limits.limited(None):
        assert limits.soft() == before


def test_no_limit_is_infinite():
    """RLIM_INFINITY is a number that must not be taken for one."""
    assert limits._number(resource.RLIM_INFINITY) == math.inf
    assert limits._number(256) == 256


def test_the_reserve_is_one_descriptor():
    """Held, given up once, taken back."""
    before = fds.count()
    reserve = Reserve()
    assert fds.count() == before + 1
    assert reserve.give_up()
    assert fds.count() == before
    assert not reserve.give_up()
    assert reserve.restore()
    assert reserve.restore()
    assert fds.count() == before + 1
    with reserve.spent():
        assert fds.count() == before
    assert fds.count() == before + 1
    reserve.close()
    assert fds.count() == before


def test_the_reserve_takes_over_a_descriptor_that_is_done_with():
    """In one step, so that nobody takes the number in between."""
    reserve, source = Reserve(), os.open(os.devnull, os.O_RDONLY)
    spare = os.open(os.devnull, os.O_WRONLY)
    assert not reserve.take_over(spare, source)
    reserve.give_up()
    before = fds.count()
    assert reserve.take_over(spare, source)
    assert fds.count() == before
    assert not os.get_inheritable(spare)
    reserve.close()
    assert fds.count() == before - 1
    os.close(source)


def test_without_a_descriptor_the_reserve_stays_spent():
    """It says that there is none, and takes the next one that is free."""
    code = """
import os
from harness.reserve import Reserve
reserve, kept = Reserve(), []
reserve.give_up()
try:
    while True:
        kept.append(os.open(os.devnull, os.O_RDONLY))
except OSError as error:
    print(error.errno, reserve.restore(), end=" ")
os.close(kept.pop())
print(reserve.restore())
"""
    assert in_child(code, 64) == "24 False True"


def test_a_working_directory_is_gone_with_its_block(tmp_path, monkeypatch):
    """With all that is in it, also after an error; its name tells whose it is."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(KeyError), workdir.workdir() as path:
        assert path.parent == tmp_path
        assert path.name.startswith(f"leak-lab-{os.getpid()}-")
        (path / "deep").mkdir()
        (path / "deep" / "file").touch()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path, monkeypatch):
    """No silent change to another folder, which `tempfile` would make."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match=r"missing: No such file or directory; set TMPDIR"):
        workdir.workdir().__enter__()


def test_sweeping_takes_what_one_process_left(tmp_path, monkeypatch):
    """And nothing of another's."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("leak-lab-12-x", "leak-lab-12-y", "leak-lab-123-x", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "logfile_0.txt").touch()
    workdir.sweep(12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["leak-lab-123-x", "mine"]


def test_no_tmpdir_is_tmp(monkeypatch):
    """As `mktemp` has it."""
    monkeypatch.delenv("TMPDIR", raising=False)
    assert str(workdir.base()) == "/tmp"
