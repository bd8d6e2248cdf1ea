"""What a run looks like, line by line: whole outputs against tests/gold/."""

import dataclasses
import io
import json

import pytest
from canned import EXHAUSTION, FAILURES, LAB, OPENED, PID, events, run, sample

from harness import cli, table
from harness.console import Console, number, seconds
from harness.gauges import OPEN_FDS
from harness.jsonlines import JsonLines, Reader
from harness.terminal import Terminal, carried


def stream(encoding="utf-8", terminal=False):
    """Return a text stream of an encoding, on a terminal or not."""
    made = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    made.isatty = lambda: terminal
    return made


def shown(told, to=None):
    """Return what the console writes of events."""
    to = to or stream()
    console = Console(LAB, Terminal(to), [f"    lsof -p {PID}"])
    for event in told:
        console(event)
    return to.buffer.getvalue().decode(to.encoding)


def ended_early(**changes):
    """Return the leaky run with changes."""
    return dataclasses.replace(run("leaky", reports=2), verdict=None, **changes)


RUNS = {
    "leaky": (run("leaky"), False),
    "fixed": (run("fixed"), False),
    "failures": (dataclasses.replace(run("fixed"), failures=FAILURES), False),
    "exhausted": (
        ended_early(
            exhaustion=EXHAUSTION,
            samples=(*run("leaky", 2).samples, EXHAUSTION.sample),
            fd_limit=256,
        ),
        False,
    ),
    "interrupted": (ended_early(samples=(*run("leaky", 2).samples, sample(5.37, 268, 276))), True),
    "unknown": (ended_early(samples=(sample(0, 0, None), sample(2, 100, None))), False),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_console(name, gold):
    """Every kind of end, as a person reads it."""
    of, interrupted = RUNS[name]
    gold(f"console_{name}.txt", shown(events(of, interrupted)))


def test_the_console_without_unicode(gold):
    """An output that cannot carry emoji gets words."""
    text = shown(events(run("leaky")), stream("ascii")) + shown(
        events(run("fixed")), stream("latin-1")
    )
    assert text.isascii()
    gold("console_ascii.txt", text)


def test_colours_only_on_a_terminal_that_wants_them(monkeypatch):
    """NO_COLOR (https://no-color.org) and TERM=dumb are honoured."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    told = events(run("leaky"))
    assert "\x1b[33m⚠️  WARNING: Doors are left open!\x1b[0m\n" in shown(told, stream(terminal=True))
    assert "\x1b" not in shown(told)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(told, stream(terminal=True))
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b" in shown(told, stream(terminal=True))
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(told, stream(terminal=True))


def test_what_an_encoding_cannot_carry_is_escaped():
    """Never an error, never a question mark for a word."""
    assert carried("⚠️  WARNING", "ascii") == "[!] WARNING"
    assert carried("✓ No leak!", "cp1252") == "[ok] No leak!"
    assert carried("file é ж", "latin-1") == "file é \\u0436"
    assert carried("⚠️  ж", "utf-8") == "⚠️  ж"
    assert carried("✓", None) == "[ok]"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (508, "508"), (0, "0"), (2.5, "2.5"), (20_000_000, "20000000")],
)
def test_figures(value, text):
    """Whole numbers in full; what was not measured is never a number."""
    assert number(value) == text


@pytest.mark.parametrize(
    ("elapsed_s", "text"), [(2.0004, "2s"), (0.25, "0.2s"), (10, "10s"), (4.9612, "5s")]
)
def test_times(elapsed_s, text):
    """Tenths of a second, without zeros that say nothing."""
    assert seconds(elapsed_s) == text


@pytest.mark.parametrize("style", cli.FORMATS)
def test_the_table(style, gold):
    """In every format."""
    gold(f"table_{style}.txt", table.render(LAB.rows, run("leaky"), run("fixed"), style) + "\n")


def test_the_table_of_runs_that_ended_early(gold):
    """One that ran out beside one that could not be measured: nothing is made up."""
    leaky, fixed = RUNS["exhausted"][0], RUNS["unknown"][0]
    gold("table_early.txt", table.render(LAB.rows, leaky, fixed, "github") + "\n")


@pytest.mark.parametrize(
    ("leaky", "fixed", "word"),
    [
        (508, 8, "98.4% reduction"),
        (52, 5, "90.4% reduction"),
        (48, 2, "95.8% reduction"),
        (512, 12, "97.7% reduction"),
        (500, 500, "Same"),
        (8, 508, "n/a"),
        (None, 8, "n/a"),
        (8, None, "n/a"),
        (0, 0, "Same"),
        (0, -1, "n/a"),
        (2.5, -0.1, "104.0% reduction"),
    ],
)
def test_improvement_is_the_guides_measure(leaky, fixed, word):
    """(leaky - fixed) / leaky, where that says something."""
    assert table.reduction(leaky, fixed) == word


def test_less_work_done_is_no_improvement():
    """A run that was interrupted a moment before the other one has opened fewer files."""
    row = table.gauge_row(OPENED)
    assert row.improvement(run("leaky"), run("fixed")) == "Same"
    assert row.improvement(run("leaky"), run("fixed", reports=4)) == "n/a"


def test_time_to_too_many_open_files():
    """From the measured growth and the descriptors that are left."""
    leaky = run("leaky")
    assert table.exhaustion_s(leaky, 1024) == pytest.approx((1024 - 8) / 50)
    assert table.exhaustion_s(run("fixed"), 1024) is None
    assert table.exhaustion_s(leaky, None) is None


@pytest.mark.parametrize("name", RUNS)
def test_json_lines_come_back_as_the_events_that_they_were(name):
    """What a child writes, its parent shows as the child would have."""
    of, interrupted = RUNS[name]
    told, written = events(of, interrupted), io.StringIO()
    sink, reader = JsonLines(written), Reader(LAB)
    for event in told:
        sink(event)
    back = [event for line in written.getvalue().splitlines() for event in reader.events(line)]
    assert shown(back) == shown(told)
    expected = dataclasses.replace(of, server_port=None)
    assert dataclasses.replace(reader.run, server_port=None) == expected


def test_json_lines_are_objects_with_the_run_in_each():
    """A reader of one line knows whose it is; values are keyed by gauge name."""
    written = io.StringIO()
    sink = JsonLines(written)
    for event in events(run("leaky", reports=3)):
        sink(event)
    objects = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [each["event"] for each in objects] == ["report"] * 4 + ["evidence", "result"]
    assert {(each["lab"], each["variant"], each["pid"]) for each in objects} == {
        ("doors", "leaky", PID)
    }
    assert objects[3]["values"][OPEN_FDS.name] == 308
    assert objects[3]["verdict"]["leaking"] is True


def test_an_unknown_gauge_is_read_under_its_name():
    """A newer child may measure more than its parent knows."""
    written = io.StringIO()
    JsonLines(written)(events(run("leaky"))[0])
    line = written.getvalue().replace(OPEN_FDS.name, "app_windows_open")
    (event,) = Reader(LAB).events(line)
    assert "app_windows_open" in {gauge.name for gauge in event.run.samples[0].values}


@pytest.mark.parametrize("line", ["", "{", "[1]", "null", '{"event": "report"}', "Traceback:"])
def test_a_line_that_is_not_ours_is_refused(line):
    """With an error, not with a made-up event."""
    with pytest.raises(ValueError):
        Reader(LAB).events(line)


def test_a_run_that_ends_undecided_says_why():
    """Its table has `n/a` for the risk; one that was interrupted or ran out has its own words.

    Each line fits a terminal of 80 columns.
    """
    short = run("leaky", 2)
    said = "No verdict: "
    assert said in shown(events(short))
    assert "\n    a leak grows in three reports or more\n" in shown(events(short))
    assert max(map(len, shown(events(short)).splitlines())) <= 80
    assert said not in shown(events(short, interrupted=True))
    assert said not in shown(events(run("leaky")))
