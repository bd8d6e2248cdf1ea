"""On Windows one sentence points to WSL; what only POSIX has is not even looked for."""

import subprocess
import sys

import pytest
from running import ROOT

AS_ON_WINDOWS = """
import runpy, signal, sys
sys.platform = "win32"
for name in ("fcntl", "resource", "termios", "pwd"):
    sys.modules[name] = None
del signal.SIGHUP, signal.SIGUSR1
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("words", ["labs", "labs.file_leak --leaky", "harness check x:y"])
def test_one_line_points_to_wsl(words):
    """Whichever command it is: status 2, no traceback."""
    done = subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS, *words.split()],
        cwd=ROOT, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "harness: error: Windows is not supported: run it in WSL (wsl --install)\n"
    )
