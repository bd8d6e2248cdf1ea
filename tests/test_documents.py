"""The documents show what a run shows: every command in them is run."""

import subprocess
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from documents import Block, alike, blocks, documents, free_ports, run, with_ports

EVERY = [block for path in documents() for block in blocks(path)]
SIDE_BY_SIDE = 2
"""Most blocks wait for a lab's next report."""


@pytest.fixture(scope="module")
def measured(request):
    """Run the blocks that were asked for, some at a time; those with the same commands once."""
    asked = {
        item.callspec.params["block"]
        for item in request.session.items
        if item.module is request.module and "block" in getattr(item, "fixturenames", ())
    }
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        alike_ones: dict[str, Future[str]] = {}
        runs: dict[Block, Future[str]] = {}
        for block in (each for each in EVERY if each in asked):
            key = f"{block.words}{block.commands}"
            alike_ones[key] = alike_ones.get(key) or pool.submit(run, block, any_ports=True)
            runs[block] = alike_ones[key]
        yield runs
        pool.shutdown(cancel_futures=True)


def shows(block: Block, output: str) -> bool:
    """Tell whether the document shows this output, but for what differs from run to run."""
    within = float(block.options.get("within", 0))
    return alike(block.body, output, within, block.options.get("order") != "free")


@pytest.mark.parametrize("block", EVERY, ids=str)
def test_a_command_prints_what_the_document_says(
    block: Block, measured: Mapping[Block, Future[str]]
):
    """A console block, run as printed, gives its output; `python -m tests.documents` renews it.

    One that differs is run once more: a machine that stalled differs once, a document that drifted
    differs always.
    """
    if not shows(block, beside_others(measured[block])) and not shows(block, again := run(block)):
        assert block.body == again


def beside_others(measured: Future[str]) -> str:
    """Return a block's first output; of one that was not in time, nothing."""
    try:
        return measured.result()
    except (TimeoutError, subprocess.TimeoutExpired):
        return ""


def test_figures_that_differ_are_seen():
    """A figure that drifted is not alike; pids, names, parts of a second and widths are."""
    late = "[AFTER 2.1s] Open FDs: 108  |  /tmp/leak-lab-12-ab/logfile"
    line = "[AFTER 2s] Open FDs: 108  |  /tmp/leak-lab-12-ab/logfile"
    assert alike(line, line.replace("12-ab", "345-cd"))
    assert alike(line, late)
    assert not alike(line, late.replace("2.1", "2.6"))
    assert not alike(line, line.replace("108", "109"))
    assert alike(line, line.replace("108", "109"), within=2)
    assert not alike(line, line.replace("Files", "files").replace("FDs", "fds"))


def test_a_lab_takes_other_ports_than_the_document_shows():
    """So that blocks can run side by side: its own flags say which, and what asks it follows."""
    command = "python -m labs.http_leak --leaky | head -3"
    moved = "python -m labs.http_leak --port 41001 --upstream-port 41002 --leaky | head -3"
    ports = {6060: 41001, 8080: 41002}
    assert with_ports(command, ports) == moved
    assert with_ports("python -m labs.file_leak", ports) == "python -m labs.file_leak --port 41001"
    assert with_ports("curl localhost:6060/6060", ports) == "curl localhost:41001/6060"
    assert with_ports("ss 'dport = :8080'", ports) == "ss 'dport = :41002'"
    assert with_ports("diff -u leaky/file_leak.py x", ports) == "diff -u leaky/file_leak.py x"
    assert with_ports(command, {}) == command


def test_two_variants_take_any_ports_and_one_takes_free_ones_of_its_own():
    """What asks a run must know its ports; of two runs each says which it has."""
    assert free_ports(["leaky", "fixed"]) == {6060: 0, 8080: 0}
    of_fixed = free_ports(["fixed"])
    assert list(of_fixed) == [6061, 8081]
    assert len(set(of_fixed.values()) - {0}) == 2
