"""What the tests share: labs run as children, gold files, no skips in CI."""

import fcntl
import gc
import json
import os
import re
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import documents
import pytest
from no_skips import pytest_addoption as add_skip_option
from no_skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 - hooks
from running import Finished, Place, becomes_free

from harness import stops

GOLD = Path(__file__).parent / "gold"
DEFAULT_PORTS = (6060, 6061, 8080, 8081)
"""Of the debug servers and of the upstreams."""


def pytest_configure():
    """Let each lab that is started find the modules compiled, as a user's second run does."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_addoption(parser):
    """Add `--write-gold`: `pytest --write-gold` writes the gold files anew."""
    add_skip_option(parser)
    parser.addoption("--write-gold", action="store_true", help="write tests/gold/ anew")


REAL_TIME = "test_documents.py", "tests/labs/", "tests/page/", "tests/monitoring/"
"""What shows a program's seconds and what a browser draws of them: a machine that stands still for
one spoils that once, what is wrong fails twice."""


def pytest_collection_modifyitems(items):
    """Begin with the documents, which take longest and mostly wait."""
    items.sort(key=lambda item: "test_documents" not in item.nodeid)
    for item in items:
        if any(place in item.nodeid for place in REAL_TIME):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def signals_as_before():
    """Put back the handlers of the signals that a command of ours takes when it runs in a test."""
    taken = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in taken}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    if sys.unraisablehook is stops._last_words:
        sys.unraisablehook = sys.__unraisablehook__


@pytest.fixture
def collected():
    """Collect what other tests left in cycles: it must not close while this one counts."""
    gc.collect()


@pytest.fixture
def place(tmp_path):
    """A folder for the labs of one test; afterwards nothing of them may be left."""
    here = Place(tmp_path / "tmp")
    yield here
    left = here.leftovers()
    here.kill_all()
    assert not left


@pytest.fixture
def gold(request):
    """Compare a whole output with its file in tests/gold/, or write that file."""

    def compare(name: str, text: str) -> None:
        path = GOLD / name
        if request.config.getoption("--write-gold"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"differs from {path}; --write-gold?"

    return compare


MASKS = (
    (r"/\S*/leak-lab-\d+-\w+", "DIRECTORY"),
    (r"(?<=-p )\d+|(?<=/proc/)\d+", "PID"),
    (r"localhost:\d{5}", "localhost:PORT"),
)


@pytest.fixture
def masked():
    """Put words for what differs from run to run: pids, temporary names, free ports."""

    def mask(text: str) -> str:
        for pattern, word in MASKS:
            text = re.sub(pattern, word, text)
        return text

    return mask


@pytest.fixture
def default_ports():
    """The default ports, for one test at a time; skips when another program keeps them."""
    with documents.default_ports():
        for port in DEFAULT_PORTS:
            if not becomes_free(port):
                pytest.skip(f"port {port} is in use by another program")
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture
def attempt(request):
    """Which attempt at this test it is, from 1: what failed is measured anew for the next."""
    return getattr(request.node, "execution_count", 1)


@pytest.fixture
def once(shared, attempt):
    """Make something expensive once for all workers: `once(name, make)` returns what it made.

    `make` takes a Place and returns runs by name.
    """

    def get(name, make) -> dict[str, Finished]:
        name = f"{name}-{attempt}"
        kept = shared / f"{name}.json"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                runs = make(Place(shared / name))
                kept.write_text(json.dumps({key: asdict(run) for key, run in runs.items()}))
        return {key: Finished(**run) for key, run in json.loads(kept.read_text()).items()}

    return get
