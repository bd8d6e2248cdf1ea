"""Every relative link and every anchor in the documents leads to something that is there."""

import re
from collections import Counter
from pathlib import Path

import pytest
from documents import documents

FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.M)


def prose(path: Path) -> str:
    """Return a document without its code blocks, where `#` begins comments."""
    return FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of `text`."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(text):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def broken(document: Path) -> list[str]:
    """Return the relative links of `document` that name no file or no heading."""
    missing = []
    for name, anchor in LINK.findall(prose(document)):
        target = document.parent / name if name else document
        is_there = target.exists() and (not anchor or anchor in anchors(prose(target)))
        if not is_there:
            missing.append(f"{name}#{anchor}" if anchor else name)
    return missing


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_each_link_leads_somewhere(document: Path):
    """A relative link names a file that is there, its anchor a heading in it."""
    assert broken(document) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path):
    """A missing file and a missing heading are named; a comment in a code block is no heading."""
    here = tmp_path / "here.md"
    there = tmp_path / "there.md"
    there.write_text(
        "## Some `heading`: twice\n## Some `heading`: twice\n```sh\n# no heading\n```\n"
    )
    good = "[a](there.md#some-heading-twice-1) [b](there.md) [c](#here) [d](https://example.org)\n"
    bad = "[e](gone.md) [f](there.md#no-heading) [g](#nowhere)\n"
    here.write_text(f"# Here\n{good}{bad}")
    assert broken(here) == ["gone.md", "there.md#no-heading", "#nowhere"]
