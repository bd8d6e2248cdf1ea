"""Under `harness run` CPython's own tests end as they do without it."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest
from running import ROOT

RESULT = re.compile(r"^(test\w+ \(\S+\)).*?(ok|FAIL|ERROR|skipped|expected failure)", re.S | re.M)
CHOSEN = {
    "test_io": ("CTextIOWrapperTest",),
    "test_socket": ("BasicTCPTest",),
    "test_subprocess": ("ProcessTestCase.test_std",),
    "test_asyncio.test_transports": ("Test",),
    "test_mmap": ("test_",),
}


def results(command: Sequence[str], module: str, folder) -> dict[str, str]:
    """Run the chosen tests of one of CPython's modules; return each test's result."""
    chosen = [word for pattern in CHOSEN[module] for word in ("-k", pattern)]
    run = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            *command,
            "-m",
            "unittest",
            "-v",
            f"test.{module}",
            *chosen,
        ],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return dict(RESULT.findall(run.stderr))


@pytest.mark.parametrize("module", CHOSEN)
def test_cpythons_own_tests_end_as_without_it(module, tmp_path):
    """What the program sees of `open`, sockets, processes, loops and maps has not changed."""
    if importlib.util.find_spec("test") is None or not importlib.util.find_spec("test.support"):
        pytest.skip("this build of Python has no test package")
    bare = results((), module, tmp_path)
    assert len(bare) > 4
    assert results(("-m", "harness", "run"), module, tmp_path) == bare
