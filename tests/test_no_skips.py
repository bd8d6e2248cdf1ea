"""In CI a test that is skipped has failed: a missing tool cannot hide."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = """
import pytest

def test_runs():
    pass

def test_skips():
    pytest.skip("no such tool")

@pytest.mark.skipif(True, reason="not on this machine")
def test_is_marked():
    pass

@pytest.mark.xfail(reason="known")
def test_expected():
    raise ValueError
"""


def outcome(tmp_path, text, *options, **more):
    """Run pytest on a file with the plugin; return its last lines."""
    (tmp_path / "test_cases.py").write_text(text)
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"PYTHONPATH": str(Path(__file__).parent)} | more
    command = [sys.executable, "-m", "pytest", "-p", "no_skips", "-p", "no:cacheprovider", "-ra"]
    done = subprocess.run(
        [*command, *options, "test_cases.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_at_home_a_skip_is_a_skip(tmp_path):
    """With its reason."""
    text = outcome(tmp_path, CASES)
    assert "1 passed, 2 skipped, 1 xfailed" in text
    assert "no such tool" in text


@pytest.mark.parametrize("how", ["option", "environment"])
def test_in_ci_it_is_a_failure(how, tmp_path):
    """With the same reason; an expected failure stays what it is."""
    options = ["--fail-on-skip"] if how == "option" else []
    more = {"CI": "true"} if how == "environment" else {}
    text = outcome(tmp_path, CASES, *options, **more)
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in text
    assert "nothing may be skipped here: Skipped: no such tool" in text
    assert "nothing may be skipped here: Skipped: not on this machine" in text


def test_a_module_cannot_be_skipped_either(tmp_path):
    """What is not imported is not tested."""
    text = outcome(tmp_path, "import pytest; pytest.importorskip('no_such_library')", CI="true")
    assert "1 error" in text
    assert "nothing may be skipped here" in text
