"""A draft is seen before it takes another file's name, however that is done."""

import shutil
from pathlib import Path

import pytest

from labs.drafts import before_rename, drafted_elsewhere


@pytest.mark.parametrize("rename", [Path.replace, Path.rename, shutil.move])
def test_a_draft_is_seen_before_it_is_renamed(tmp_path, rename):
    """While it still has its own name."""
    draft, seen = tmp_path / "draft", []
    draft.write_text("text", encoding="utf-8")
    with before_rename(lambda each: seen.append(each.read_text(encoding="utf-8"))):
        rename(draft, tmp_path / "page")
    assert seen == ["text"]
    assert (tmp_path / "page").read_text(encoding="utf-8") == "text"


@pytest.mark.parametrize("folder", ["pages", "elsewhere"])
def test_a_draft_in_another_folder_is_told(tmp_path, folder):
    """By the folder that it is in."""
    pages, drafts = tmp_path / "pages", tmp_path / folder
    for each in {pages, drafts}:
        each.mkdir()
    (drafts / "draft").write_text("text", encoding="utf-8")
    told = drafted_elsewhere(lambda: (drafts / "draft").replace(pages / "page"), pages)
    assert told == (None if folder == "pages" else str(drafts))
