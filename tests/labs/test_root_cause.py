"""The labs name the line that opened what leaks, and who holds it, in every view of theirs."""

import urllib.request
from contextlib import nullcontext

import pytest
from running import ports_in

from harness.evidence import Evidence, from_subject
from harness.tracker import Tracker
from leaky import file_leak, subprocess_pipes

QUICK = "--report-every=0.2", "--duration=0.6", "--port=0", "--hold"


def page(started, path: str, settled: str = "AFTER 0.6") -> str:
    """Return a page of the debug server of a run that holds, once it has printed `settled`."""
    started.see(settled)
    (port,) = ports_in(started.see(r"(?s).*localhost:\d+")[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/debug/pprof/{path}") as answer:
        return answer.read().decode()


@pytest.mark.parametrize("variant", ["leaky", "fixed"])
def test_the_index_lists_what_is_open_by_origin_and_holder(variant, place):
    """The leaky run's 30 files are one row with their line and their list; the fixed has none."""
    started = place.start(f"--{variant}", *QUICK)
    index = page(started, "", "held by" if variant == "leaky" else "AFTER 0.6")
    started.process.terminate()
    started.end()
    row = (
        "<td>30 files</td><td>opened at leaky/file_leak.py:24 in LogAggregator.store</td>"
        "<td>LogAggregator._recent (list, 30 items) → TextIOWrapper (1 of 30 alike)</td>"
    )
    assert (row in index) is (variant == "leaky")


def test_the_memory_profile_is_on_when_asked_for(place):
    """`--tracemalloc N` turns the heap profile on; without it the page says how."""
    started = place.start("--leaky", "--tracemalloc=4", *QUICK)
    heap = page(started, "heap?debug=1")
    started.process.terminate()
    started.end()
    assert heap.startswith("heap profile: ")


def test_a_server_for_others_is_meant_or_refused(place):
    """Another address needs --allow-remote, and then a warning comes first."""
    refused = place.run("--leaky", "--host=127.0.0.2", *QUICK)
    assert (refused.status, refused.out) == (2, "")
    assert "--allow-remote" in refused.err
    run = place.run(
        "--fixed", "--host=127.0.0.2", "--allow-remote", *QUICK[:-1], "--report-every=0.2"
    )
    assert run.lines[0].startswith("⚠️  the debug server on 127.0.0.2 answers anyone")


PATHS = {
    "__main__.run → LogAggregator._recent → file": "LogAggregator._recent → file",
    "leaky.file_leak.LogAggregator.at (lru_cache) → file": "LogAggregator.at (lru_cache) → file",
    "leaky.file_leak.OPEN (dict) → LogAggregator._recent": "OPEN (dict) → LogAggregator._recent",
    "logging.root → Logger.handlers → file": "logging.root → Logger.handlers → file",
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_begins_with_the_subject(path):
    """How the run holds what it runs is left out; what the subject's own module holds is not."""
    assert from_subject(path, file_leak) == PATHS[path]


def test_what_holds_comes_before_what_it_holds(tmp_path):
    """A process has more pipes than it is processes, and is named first: it holds them."""
    document = tmp_path / "document"
    document.touch()
    with Tracker() as tracker:
        checker = subprocess_pipes.Checker(["true"])
        for _ in range(3):
            checker.check(document)
        groups = Evidence(tracker, subprocess_pipes, nullcontext).groups()
        checker.rejected()
    assert [(group.kind, group.count) for group in groups[:2]] == [("process", 3), ("pipe", 6)]
