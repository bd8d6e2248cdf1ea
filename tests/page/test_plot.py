"""`--plot`: both curves, the limit and the verdict in one file, the same for the same run."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import canned
import pytest
from running import ROOT

from harness import plot
from harness.cli import main
from harness.jsonlines import Reader
from harness.model import Run, Variant
from labs.file_leak import LAB

RECORDED = Path(__file__).parent / "recorded.jsonl"
"""What `python -m labs.file_leak --ulimit 256 --json` wrote."""
EXAMPLE = ROOT / "resources" / "file_leak.svg"
SVG = "{http://www.w3.org/2000/svg}"


def recorded() -> list[Run]:
    """Return both recorded runs."""
    runs = []
    for variant in (Variant.LEAKY, Variant.FIXED):
        reader = Reader(LAB)
        for line in RECORDED.read_text(encoding="utf-8").splitlines():
            if f'"variant": "{variant}"' in line:
                reader.events(line)
        assert reader.run is not None
        runs.append(reader.run)
    return runs


def texts(svg: Path) -> list[str]:
    """Return the words in a picture."""
    return [each.text or "" for each in ElementTree.parse(svg).iter(f"{SVG}text")]


def curve(svg: Path, name: str) -> list[tuple[float, float]]:
    """Return the corners of a curve, in points from the top left."""
    (group,) = (each for each in ElementTree.parse(svg).iter(f"{SVG}g") if each.get("id") == name)
    path = group.find(f"{SVG}path")
    assert path is not None
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


CURVES = ("process_open_fds-leaky", "process_open_fds-fixed", "limit")


def test_the_example_in_the_guide_is_drawn_from_a_recorded_run(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The same words and curves; `pytest --write-gold tests/page` draws it anew."""
    drawn = tmp_path / "now.svg"
    plot.draw(LAB, recorded(), str(drawn))
    if request.config.getoption("--write-gold"):
        EXAMPLE.write_bytes(drawn.read_bytes())
    assert texts(drawn) == texts(EXAMPLE)
    for name in CURVES:
        now, then = curve(drawn, name), curve(EXAMPLE, name)
        assert len(now) == len(then)
        assert all(one == pytest.approx(other, abs=2) for one, other in zip(now, then, strict=True))


def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    """Byte by byte: no date and no name by chance."""
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for file in files:
        plot.draw(LAB, recorded(), str(file))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_figure_says_what_was_measured(tmp_path: Path) -> None:
    """Title, verdicts, last figures and limit in words; leaky rises to the limit, fixed is flat."""
    drawn = tmp_path / "now.svg"
    plot.draw(LAB, recorded(), str(drawn))
    words = texts(drawn)
    assert "File descriptor leak" in words
    assert any(word.startswith("leaky: [Errno 24] Too many open files") for word in words)
    assert "fixed: No leak! File descriptors stable" in words
    assert {"leaky: 256", "fixed: 8"} <= set(words)
    leaky, fixed, limit = (curve(drawn, name) for name in CURVES)
    assert [y for _, y in leaky] == sorted((y for _, y in leaky), reverse=True)
    assert leaky[-1][1] == pytest.approx(limit[0][1], abs=0.01)
    assert len({y for _, y in fixed}) == 1


def test_a_far_limit_is_told_and_does_not_flatten_the_curves(tmp_path: Path) -> None:
    """When it will be reached stands beside it."""
    drawn = tmp_path / "far.svg"
    plot.draw(canned.LAB, [canned.run("leaky"), canned.run("fixed")], str(drawn))
    assert "limit: 20000, reached after 399.8s at this rate" in texts(drawn)
    heights = [y for _, y in curve(drawn, CURVES[0])]
    assert max(heights) - min(heights) > 100


def test_one_run_is_drawn_when_it_has_ended_even_if_interrupted(tmp_path: Path) -> None:
    """The sink takes note of the run; a run that never began leaves no file."""
    drawn = tmp_path / "one.svg"
    sink = plot.Plot(canned.LAB, str(drawn))
    sink.draw()
    assert not drawn.exists()
    for event in canned.events(canned.run("leaky"), interrupted=True):
        sink(event)
    sink.draw()
    assert "leaky: Doors are left open!" in texts(drawn)


def test_the_command_draws_both_runs(place, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """After the table, into the file that was asked for."""
    drawn = tmp_path / "both.svg"
    arguments = ("--port=0", "--rate=100", "--duration=1.2", "--report-every=0.3", "--ulimit=64")
    run = place.run(*arguments, f"--plot={drawn}")
    assert run.status == 1
    assert "| Open File Descriptors | 64 " in run.out
    assert {"leaky: 64", "fixed: 8"} <= set(texts(drawn))


def test_png_too(tmp_path: Path) -> None:
    """By the ending of the name."""
    drawn = tmp_path / "run.PNG"
    plot.draw(canned.LAB, [canned.run("leaky")], str(drawn))
    assert drawn.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("run.pdf", "run.pdf: the ending must be one of .svg, .png"),
        ("no/such/run.svg", "no/such/run.svg: there is no folder no/such; make it first"),
    ],
)
def test_what_cannot_be_drawn_is_told_before_the_run(
    file: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, with status 2."""
    assert main(LAB, "labs.file_leak", ["--plot", file]) == 2
    assert capsys.readouterr() == ("", f"labs.file_leak: error: --plot {why}\n")


def test_without_matplotlib_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lab itself does not need it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(LAB, "labs.file_leak", ["--leaky", "--plot", "run.svg"]) == 2
    assert capsys.readouterr().err == (
        "labs.file_leak: error: --plot run.svg: it needs matplotlib; "
        "install it with `python -m pip install -e '.[plot]'`\n"
    )
