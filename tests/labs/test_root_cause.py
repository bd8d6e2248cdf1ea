"""The labs name the line that opened what leaks, and who holds it, in every view of theirs."""

import urllib.request
from contextlib import ExitStack, closing, nullcontext

import pytest
from running import ports_in

from harness.evidence import Evidence, from_subject
from harness.tracker import Tracker
from leaky import file_leak, generator_peek, subprocess_pipes

QUICK = "--report-every=0.2", "--duration=0.6", "--port=0", "--hold"


def page(started, path: str, settled: str = "Files opened: 30") -> str:
    """Return a page of the debug server of a run that holds, once it has printed `settled`."""
    started.see("Files opened: 30")
    started.see(settled)
    (port,) = ports_in(started.see(r"(?s).*localhost:\d+")[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/debug/pprof/{path}") as answer:
        return answer.read().decode()


@pytest.mark.parametrize("variant", ["leaky", "fixed"])
def test_the_index_lists_what_is_open_by_origin_and_holder(variant, place):
    """The leaky run's 30 files are one row with their line and their list; the fixed has none."""
    started = place.start(f"--{variant}", *QUICK)
    index = page(started, "", "held by" if variant == "leaky" else "Files opened: 30")
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


def test_a_holders_path_begins_at_a_generator_of_the_subject(tmp_path):
    """What keeps the generators is the run's own; what waits in them is the subject's."""
    path = tmp_path / "rows.csv"
    path.write_text("id\n1\n")
    with Tracker() as tracker, ExitStack() as stack:
        for found in (kept := [generator_peek.rows(path) for _ in range(3)]):
            stack.enter_context(closing(found))
            next(found)
        opened, held_by = Evidence(tracker, generator_peek, nullcontext).lines()
    assert opened.endswith(f"in rows: {len(kept)} files")
    assert held_by.startswith("held by generator rows() at ")


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


def test_a_holders_path_does_not_begin_at_a_call_that_comes_and_goes(tmp_path):
    """When descriptors run out, the call that failed refers to the holder too; it does not hold."""
    with Tracker() as tracker:
        aggregator = file_leak.LogAggregator(tmp_path)
        aggregator.store(1, "record")
        try:
            aggregator.store(2, "\ud800")
        except UnicodeEncodeError:
            del aggregator  # now only the traceback leads to it
            _, held_by = Evidence(tracker, file_leak, nullcontext).lines()
    assert held_by.startswith("held by LogAggregator._recent ")


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
