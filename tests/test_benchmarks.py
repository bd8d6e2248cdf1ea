"""The benchmarks' bounds: what they hold a figure to, and that passing one is told."""

import pytest

from tests.benchmarks.measure import (
    Effort,
    Limit,
    Row,
    Table,
    Unavailable,
    command,
    in_turn,
    ratio,
    tables_of,
)

ONCE = Effort(rounds=1, budget_s=1)


def table(figure):
    """Return a table with one row that is held to a ratio."""
    return Table(
        "Counts", ["", "median"], [Row(["ours", "3 µs"], [Limit(figure, "× at 8", 1.2, 2)])]
    )


@pytest.mark.parametrize("figure, long, short", [(1.1, 0, 0), (1.5, 1, 0), (2.5, 1, 1)])
def test_a_figure_past_its_bound_is_missed(figure, long, short):
    """The short form's bound is wider, for a noisy machine, and can fail too."""
    assert len(table(figure).missed(short=False)) == long
    assert len(table(figure).missed(short=True)) == short


def test_seconds_are_held_in_the_long_form_only():
    """On a machine that others use they say nothing."""
    limit = Limit(3.0, "s", 2)
    assert (limit.is_met(short=False), limit.is_met(short=True)) == (False, True)


def test_a_bound_stands_beside_its_row():
    """The reader sees figure and bound at once."""
    assert "| ours | 3 µs     | ❌ 1.5 × at 8 (at most 1.2) |" in table(1.5).as_markdown(False)


def test_a_tool_that_is_not_there_is_unknown(monkeypatch):
    """It has no figure and no ratio, and breaks nothing."""
    monkeypatch.delenv("CI", raising=False)
    medians = in_turn({"ours": lambda: None, "theirs": command("no-such-tool -x")}, ONCE)
    assert medians["theirs"] is None
    assert ratio(medians, "ours", "theirs") is None


def test_in_ci_every_tool_must_be_there(monkeypatch):
    """A row that is silently empty would hold nothing."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Unavailable, match="no-such-tool is not installed"):
        in_turn({"theirs": command("no-such-tool -x")}, ONCE)


def test_a_tool_that_refuses_says_why(monkeypatch):
    """Its own words are the reason."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Unavailable, match="/no/such/folder"):
        in_turn({"theirs": command("ls /no/such/folder")}, ONCE)


def test_a_benchmark_that_fails_is_missed_and_the_others_stay(capsys):
    """One tool that misbehaves must not cost the figures of all others."""
    (table,) = tables_of("no_such", ONCE)
    assert table.missed(short=True) == ["bench_no_such, failed: ❌ 1 failed (at most 0)"]
    assert "bench_no_such" in table.as_markdown(short=True)
    assert "ModuleNotFoundError" in capsys.readouterr().err
