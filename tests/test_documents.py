"""The documents show what a run shows: every command in them is run, every link leads somewhere."""

import fcntl
import re
from hashlib import sha256
from pathlib import Path

import pytest
from documents import Block, alike, blocks, documents, run

EVERY = [block for path in documents() for block in blocks(path)]


def run_once(block: Block, shared: Path) -> str:
    """Run a block, or read what the same block gave in another document."""
    name = sha256(f"{block.words}{block.commands}".encode()).hexdigest()
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = shared / f"{name}.txt"
        if not kept.exists():
            kept.write_text(run(block), encoding="utf-8")
        return kept.read_text(encoding="utf-8")


LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("block", EVERY, ids=str)
def test_a_command_prints_what_the_document_says(block: Block, shared: Path):
    """A console block, run as printed, gives its output; `python -m tests.documents` renews it."""
    within = float(block.options.get("within", 0))
    measured = run_once(block, shared)
    in_order = block.options.get("order") != "free"
    if not alike(block.body, measured, within, in_order):
        assert block.body == measured


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    """Each relative link of a document names a file that is there."""
    targets = LINK.findall(path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


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
