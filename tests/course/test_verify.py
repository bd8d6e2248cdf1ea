"""Every lab tells its leak, its fix and the tempting wrong fixes apart."""

import sys
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from harness.terminal import Terminal
from labs.course import catalogue, verify

SIDE_BY_SIDE = 2
"""Much of a verdict is waiting."""


@pytest.fixture(scope="module")
def problems(request):
    """What `python -m labs verify` finds in each lab that was asked for."""
    asked = [
        item.callspec.params["name"]
        for item in request.session.items
        if item.module is request.module and "problems" in getattr(item, "fixturenames", ())
    ]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        found: dict[str, Future[list[str]]] = {
            name: pool.submit(verify.problems_of, name) for name in asked
        }
        yield found
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", catalogue.names())
def test_a_lab_keeps_its_contract(name, problems):
    """Starter fails, fix passes, each wrong fix fails with its sentence; hints and a chapter."""
    assert problems[name].result() == []


def test_the_labs_come_in_the_order_of_the_guide():
    """The first and the last are the guide's; none is missing there."""
    names = catalogue.names()
    assert names[0] == "file_leak"
    assert names == sorted(names, key=catalogue.chapters().__getitem__)


@pytest.mark.parametrize("on_a_terminal", [True, False], ids=["terminal", "pipe"])
def test_a_terminal_sees_how_many_labs_are_done(on_a_terminal, monkeypatch, capsys):
    """A pipe gets the lines alone: one for each lab, and for each thing that is wrong with it."""
    monkeypatch.setattr(verify, "problems_of", {"file_leak": [], "http_leak": ["No!"]}.get)
    if on_a_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")  # a dumb one, as in a bare environment, has no bar
    terminal = Terminal(sys.stdout)
    terminal.is_terminal = on_a_terminal
    assert verify.verify(["file_leak", "http_leak"], terminal) == 1
    out = capsys.readouterr().out
    lines = ["✓ file_leak: starter fails, ", "✗ http_leak:", "    No!"]
    if on_a_terminal:
        assert all(said in out for said in (*lines, "Verifying", "2 of 2"))
    else:
        assert [
            line[: len(said)] for line, said in zip(out.splitlines(), lines, strict=True)
        ] == lines
