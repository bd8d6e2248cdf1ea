"""Reports group what is open by the line that opened it."""

import json
from dataclasses import dataclass, replace

import pytest

from harness.errors import UsageError
from harness.model import Opened
from harness.report import Report, as_html, as_json, as_text, group_by_origin, renderer_for
from harness.trace import Trace

FILE = Opened("file", "/data/a", 1.0, "MainThread", (("app.py", 21, "process"),), 3)
UNSEEN = Opened("inotify", "anon_inode:inotify", 2.0, "", (), 9)


@dataclass(frozen=True)
class Held:
    """Holders as the search gives them."""

    paths: tuple[str, ...]
    members: tuple[int, ...]


def test_groups_by_kind_and_line_largest_first():
    """Alike resources are one group with the oldest time and each target once."""
    files = [
        replace(FILE, target=f"/data/{name}", opened_at_s=at_s) for name, at_s in ("a5", "b3", "a4")
    ]
    group, unseen = group_by_origin([UNSEEN, *files])
    assert (group.count, group.opened_at_s) == (3, "3")
    assert group.targets == ("/data/a", "/data/b")
    assert group.origin == "opened at app.py:21 in process"
    assert unseen.origin == "opened outside Python's sight"


def test_holders_are_searched_once_and_counted_for_each_group():
    """One search serves all groups; each tells how many of its own are held alike."""
    owners = [object() for _ in range(3)]
    socket = replace(FILE, kind="socket", owner=lambda: owners[2])
    opened = [*(replace(FILE, owner=lambda each=each: each) for each in owners[:2]), socket, UNSEEN]
    asked = []

    def find(objects):
        asked.append(objects)
        return [Held(("app.CACHE → list",), (0, 1, 2))]

    files, sockets, unseen = group_by_origin(opened, find)
    assert asked == [owners]
    assert files.held_by == ("app.CACHE → list (1 of 2 alike)",)
    assert (sockets.held_by, unseen.held_by) == (("app.CACHE → list",), ())


def test_an_owner_that_is_gone_is_not_searched():
    """Nothing holds what has been dropped since it was listed."""
    (group,) = group_by_origin([replace(FILE, owner=lambda: None)], lambda _: pytest.fail("asked"))
    assert group.held_by == ()


def test_text_has_a_paragraph_for_each_group():
    """The text names number, kind, line, caller and targets."""
    stack = (("app.py", 21, "process"), ("main.py", 4, "main"))
    opened = [
        replace(FILE, kind="fd", stack=stack, via="tempfile.mkstemp", target=str(n))
        for n in range(5)
    ]
    assert as_text(Report("at exit", 42, group_by_origin(opened))) == (
        "[harness] 5 resources open at exit, in process 42\n"
        "  5 raw descriptors opened at app.py:21 in process through tempfile.mkstemp\n"
        "      called from main.py:4 in main\n"
        "      on 0, 1, 2 and 2 more\n"
    )


def test_json_gives_the_stack_as_objects():
    """In JSON the user's frame is the first of `opened_at`."""
    document = json.loads(as_json(Report("at exit", 42, group_by_origin([FILE]))))
    assert (document["open"], document["pid"], document["reason"]) == (1, 42, "at exit")
    (group,) = document["groups"]
    assert (group["kind"], group["count"], group["targets"]) == ("file", 1, ["/data/a"])
    assert group["opened_at"] == [{"file": "app.py", "line": 21, "function": "process"}]


def test_html_shows_hostile_names_as_text():
    """A file's name cannot add markup to the page."""
    page = as_html(Report("at exit", 42, group_by_origin([replace(FILE, target="<script>")])))
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_an_unknown_ending_is_refused():
    """A report's format is its file's ending; another ending is an error that lists them."""
    with pytest.raises(UsageError, match=r"out.pdf: the ending must be one of .json, .html, .txt"):
        renderer_for("out.pdf")


class Lines(list):
    """Keeps what is written."""

    write = list.append


def test_trace_tells_what_came_and_went():
    """An opening is written at once, a closing when the next opening lets it be noticed."""
    first = replace(FILE, opened_at_s=10.0)
    out, now_s, present = Lines(), [10.0], [first]
    trace = Trace(out, lambda: present, lambda: now_s[0])
    trace.opened(first)
    present[:] = [replace(UNSEEN, opened_at_s=10.5)]
    now_s[0] = 10.5
    trace.poll()
    assert out == [
        "0.000 + file fd 3 /data/a app.py:21 in process\n",
        "0.500 - file fd 3 /data/a app.py:21 in process\n",
        "0.500 + inotify fd 9 anon_inode:inotify unseen\n",
    ]
