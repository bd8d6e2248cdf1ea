"""README's table of labs is complete."""

import re

from running import ROOT

from labs.course import catalogue


def test_the_table_shows_every_lab_in_the_order_of_the_guide():
    """No lab is missing from it, and none is in it that is not there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `python -m labs\.(\w+)` \|", text, re.M) == catalogue.names()
