"""The live page in a real browser, beside two real runs of the same lab."""

from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest

from tests.page.conftest import PHONE, Seen


def test_the_curve_rises_for_leaky_and_is_flat_for_fixed(seen: Seen) -> None:
    """In pixels: y falls towards the top, from corner to corner."""
    leaky, fixed = ([y for _, y in seen.curves[name]] for name in ("leaky", "fixed"))
    assert len(leaky) >= 4
    assert all(later < earlier for earlier, later in pairwise(leaky))
    assert len(set(fixed)) == 1


def test_the_numbers_are_those_of_the_runs(seen: Seen) -> None:
    """Every sample that the runs wrote as JSON is in the table of the chart, and no other.

    Only the one that is taken as a signal ends a run may come too late for the page.
    """
    assert seen.tables[0][0] == ["After", "leaky", "fixed"]
    for column, name in ((1, "leaky"), (2, "fixed")):
        shown = figures(seen, column)
        wrote = [sample["values"]["process_open_fds"] for sample in seen.samples[name]]
        assert len(wrote) - len(shown) <= 1
        assert shown[:-1] == wrote[: len(shown) - 1]
        assert shown[-1] in wrote[-2:]


def figures(seen: Seen, column: int) -> list[int]:
    """Return the figures in one column of the first chart's table."""
    rows = seen.tables[0][1:]
    return [int(row[column].replace(",", "")) for row in rows if row[column]]


def test_a_chart_says_in_words_what_it_shows(seen: Seen) -> None:
    """A screen reader gets the first and the last figure of each curve, and the limit."""
    leaky = figures(seen, 1)
    label = seen.ended["svg"][0]
    assert label.startswith(f"Open file descriptors: leaky from {leaky[0]} to {leaky[-1]:,} in ")
    assert ", fixed from 8 to 8 in " in label
    assert "; limit " in label


def test_verdicts_and_the_time_of_running_out(seen: Seen) -> None:
    """As the console has them."""
    assert seen.live["#title"] == ["File descriptor leak"]
    assert seen.live[".verdict"] == [
        "⚠️ File descriptor leak detected!",
        "✓ No leak! File descriptors stable",
    ]
    assert any("descriptors are open" in note for note in seen.live[".notes li"])


def test_what_is_open_by_origin_and_holder(seen: Seen) -> None:
    """The group opens to the calls that led to it; the fixed run has none."""
    assert seen.live["#open summary"] == ["opened at leaky/file_leak.py:24 in LogAggregator.store"]
    assert seen.live["#open .held"][0].startswith("held by LogAggregator._recent (list, ")
    assert seen.live["#open .stack li"][0] == "leaky/file_leak.py:24 in LogAggregator.store"
    assert seen.live["#open caption"][1] == "fixed: nothing, at the last look"


def test_the_end_is_told_and_the_curves_stay(seen: Seen) -> None:
    """Nobody answers any more, and what was seen last is still there."""
    assert seen.live["#state"] == ["Leaky is running, fixed is running."]
    assert seen.ended["#state"][0].startswith("The lab has ended: leaky ended after ")
    assert len(seen.curves["leaky"]) in (len(seen.samples["leaky"]), len(figures(seen, 1)))


def test_axe_finds_no_fault_in_light_and_dark_wide_and_on_a_phone(seen: Seen) -> None:
    """Roles, labels, headings, contrast: axe-core's rules for WCAG."""
    assert seen.violations == {"light, wide": "", "dark, phone": ""}


def test_nothing_is_cut_off_on_a_phone(seen: Seen) -> None:
    """The page is no wider than 360 pixels."""
    assert seen.widths["dark, phone"] == PHONE["width"]


def test_the_keyboard_reaches_everything(seen: Seen) -> None:
    """The switch, each table and each group, in the order of the page; Enter opened the group."""
    assert seen.keyboard[0] == "to-limit"
    assert seen.keyboard[1] == "Open file descriptors as a table"
    assert seen.keyboard[-1].startswith("opened at leaky/file_leak.py")
    assert seen.live["svg text.limit"][0].startswith("limit ")


def test_each_profile_opens_as_a_flame_graph(seen: Seen) -> None:
    """One link for each run; that of the descriptors shows the line which opened them."""
    assert seen.live["#profiles a"] == ["leaky", "fixed"] * 7
    assert any("LogAggregator.store" in title for title in seen.flame)


def test_it_works_offline(seen: Seen) -> None:
    """Every request goes to this machine, and no script failed."""
    hosts = {url.split("/")[2].partition(":")[0] for url in seen.requested}
    assert hosts == {"localhost"}
    assert seen.problems == []


def test_the_picture_in_the_documents_is_of_this_page(
    seen: Seen, picture_path: Path, request: pytest.FixtureRequest
) -> None:
    """About as large, and a small file; `pytest --write-gold tests/page` takes it anew."""
    from PIL import Image

    now = Image.open(BytesIO(seen.picture))
    if request.config.getoption("--write-gold"):
        now.convert("RGB").quantize(64).save(picture_path, optimize=True)
    then = Image.open(picture_path)
    assert then.width == now.width
    assert then.height == pytest.approx(now.height, rel=0.25)
    assert picture_path.stat().st_size < 100_000
