"""The guide's prevention checklist holds for the labs, and its install is complete."""

import re
import tomllib
from dataclasses import dataclass

import pytest
from documents import ROOT

GUIDE = (ROOT / "GUIDE.md").read_text(encoding="utf-8")
LABS = sorted(path.stem for path in ROOT.glob("leaky/[!_]*.py"))


@dataclass(frozen=True)
class Rule:
    """A row of the checklist: its lab, the linters' rules that see it, what sees it at run time."""

    lab: str
    codes: frozenset[str]
    at_run_time: str


def section(heading: str) -> str:
    """Return the guide's text below a heading, up to the next of its level or above."""
    below = GUIDE.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{heading.index(' ')}}} ", below, maxsplit=1, flags=re.M)[0]


def checklist() -> list[Rule]:
    """Return the rows of the prevention checklist."""
    rows = re.findall(r"^\| (.+) \|$", section("## Prevention checklist"), re.M)[1:]
    cells = [row.split(" | ") for row in rows]
    seen_elsewhere = re.compile(r"\(.*\)")
    return [
        Rule(lab, frozenset(re.findall(r"[A-Z]+\d+", seen_elsewhere.sub("", codes))), seen)
        for _, lab, codes, seen in cells
    ]


RULES = {rule.lab: rule for rule in reversed(checklist())}
"""The first row of each lab, which is about its own leak."""


FOUND = re.findall(
    r"^(leaky|fixed)/(\w+)\.py:\d+:\d+:? ([A-Z]+\d+)\b",
    section("### What a linter sees"),
    re.M,
)
"""What the guide shows that the linters find, as (variant, lab, rule).

The tests of the documents run the linters again and compare.
"""


def test_every_lab_has_its_rule():
    """Each leaky twin is named in the checklist, and each lab named there has a chapter."""
    chapters = re.findall(r"^### Lab \d+: (\w+)$", GUIDE, re.M)
    assert set(LABS) <= set(RULES)
    assert set(RULES) == set(chapters)


@pytest.mark.parametrize("lab", LABS)
def test_a_linter_finds_what_the_checklist_says(lab: str):
    """Of the rules shown, linters find those of the lab's row in its leaky twin, and no other."""
    found = {rule for variant, twin, rule in FOUND if (variant, twin) == ("leaky", lab)}
    assert found == RULES[lab].codes


def test_a_linter_is_content_with_the_fixed_twins():
    """What the linters fault in a leaky twin is gone in the fixed one."""
    assert FOUND
    assert [twin for variant, twin, _ in FOUND if variant == "fixed"] == []


@pytest.mark.parametrize("lab", LABS)
def test_the_checklist_names_what_a_run_finds(lab: str):
    """Where the guide shows a run's evidence for a lab, it is of the kind that its row names."""
    kinds = set(
        re.findall(rf"opened at leaky/{lab}\.py:\d+ in [^\n]*: \d+ ([a-z0-9 ]+)$", GUIDE, re.M)
    )
    named = set(RULES[lab].at_run_time.removeprefix("`check`: ").split(", "))
    assert not kinds or named <= kinds


def test_the_wheelhouse_holds_what_building_needs():
    """The offline commands fetch the build's requirements too, and install without an index."""
    fetch, install = re.findall(r"^```sh\n(.*?)\n```$", section("### Without internet"), re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for requirement in project["build-system"]["requires"]:
        assert f"'{requirement}'" in fetch
    assert "--no-index" in install
    wanted = r"'(\.\[\w+\])'"
    assert re.findall(wanted, fetch) == re.findall(wanted, install) != []
