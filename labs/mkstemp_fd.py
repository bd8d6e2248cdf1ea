"""Lab 3: a page cache forgets the numbers of its drafts. `python -m labs.mkstemp_fd`."""

import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import mkstemp_fd as fixed
from harness import listing, table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Run, Setting, View, Workload
from harness.probes import fds
from leaky import mkstemp_fd as leaky

from .drafts import before_rename, drafted_elsewhere
from .words import are

PUT = Gauge("app_pages_put_total", "Pages put", "Pages put")
PAGES = 5
"""So many pages there are; putting one again replaces it."""


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Put one page per operation, the same few again and again, and read it."""
    caches = [subject.PageCache(setting.directory)]
    done = 0

    def put(number: int) -> object:
        nonlocal done
        [cache], page = caches, f"page-{number % PAGES}"
        size = cache.put(page, f"<p>version {number:08}</p>")
        done += 1
        return size, cache.get(page)

    try:
        yield Workload(put, {PUT: lambda: done})
    finally:
        caches.clear()  # what it owns closes by itself; what is left then has no owner
        gc.collect()
        _close_numbers(setting.directory)


def _close_numbers(directory: Path) -> None:
    """Close every descriptor of what is, or was, in `directory`."""
    inside = f"{directory.resolve()}{os.sep}"
    for number, target in list(fds.targets()):
        if target.startswith(inside):
            os.close(number)


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof and /proc count."""
    return listing.open_files(run, setting.directory, "deleted")


def pages_can_be_read(subject: ModuleType, directory: Path) -> str | None:
    """A page reads as it was put last, and put tells its size."""
    cache = subject.PageCache(directory)
    for text in ("first", "", "naïve ☃"):
        size = cache.put("page", text)
        if (got := cache.get("page")) != text:
            return f"get gave {got!r} after put of {text!r}; write before it takes the page's name"
        if size != len(text.encode()):
            return f"put returned {size} for {len(text.encode())} bytes; measure what is on disk"
    return None


def a_page_is_replaced_in_one_step(subject: ModuleType, directory: Path) -> str | None:
    """Whoever reads a page while it is put again reads the old one to its end."""
    cache = subject.PageCache(directory)
    cache.put("page", "old " * 3)
    with (directory / "page").open(encoding="utf-8") as reader:
        start = reader.read(4)
        cache.put("page", "new")
        reader.seek(4)
        got = start + reader.read()
    if got == "old " * 3:
        return None
    return (
        f"a reader found {got!r} while a page was put again; write a draft, then let it take the "
        "page's name"
    )


def a_draft_is_whole(subject: ModuleType, directory: Path) -> str | None:
    """A draft is written to its end before it takes the page's name."""
    drafts: list[str] = []
    with before_rename(lambda draft: drafts.append(draft.read_text(encoding="utf-8"))):
        subject.PageCache(directory).put("page", "whole")
    if drafts in (["whole"], []):
        return None
    return f"the draft took the page's name when {drafts[0]!r} of 'whole' was in it; close it first"


def a_draft_is_beside_its_page(subject: ModuleType, directory: Path) -> str | None:
    """A draft is in the folder of the pages: from another disk it could not be renamed."""
    cache = subject.PageCache(directory)
    if folder := drafted_elsewhere(lambda: cache.put("page", "text"), directory):
        return f"a draft was in {folder}; that may be another disk: put it beside the page"
    return None


def drafts_are_told_apart(subject: ModuleType, directory: Path) -> str | None:
    """A page can be put twice at the same time."""
    cache = subject.PageCache(directory)
    cache.put("page", "old")
    with before_rename(lambda _draft: cache.put("page", "second")):
        try:
            cache.put("page", "first")
        except OSError as error:
            return f"put failed while another put the same page: {error}; give each its own draft"
    got = cache.get("page")
    return None if got in ("first", "second") else f"two puts at the same time made it {got!r}"


def a_failed_put_leaves_nothing(subject: ModuleType, directory: Path) -> str | None:
    """A page that cannot be written is an error for the caller, and leaves neither draft nor fd."""
    cache = subject.PageCache(directory)
    cache.put("page", "old")
    before, kept = fds.count() or 0, []
    for _ in range(3):
        try:
            cache.put("page", "\ud800")  # a lone surrogate has no UTF-8 form
        except UnicodeEncodeError as error:
            kept.append(error)  # as an error report would, and with it the frames of the failure
    if len(kept) < 3:
        return "a page that could not be written raised no error; let its caller see it"
    if still := (fds.count() or 0) - before:
        return (
            f"{are(still, 'descriptor')} open after 3 puts that failed: close was not reached; "
            "with closes on every path"
        )
    return _only_the_page(cache, directory)


def _only_the_page(cache: Any, directory: Path) -> str | None:  # noqa: ANN401 - of any copy
    names = [path.name for path in directory.iterdir()]
    if names != ["page"]:
        return f"{len(names)} files are there after failed puts of 1 page; take the drafts away"
    got = cache.get("page")
    return None if got == "old" else f"a put that failed made the page {got!r}; leave the old one"


LAB = Lab(
    name="mkstemp_fd",
    title="Descriptors that nobody owns",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(PUT,),
    judged=(OPEN_FDS,),
    warning="Descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=50,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(PUT),
        table.MEMORY,
        table.RISK,
        table.view_row("Lsof Says Deleted", "lsof_matching"),
        table.limit_row(None),
        table.limit_row(table.COMMON_LIMIT),
    ),
    views=views,
    commands=(
        "lsof -a -p {pid} +L1 | tail -3",
        "curl http://localhost:{port}/debug/pprof/",
    ),
    hints=(
        "No object holds these: `lsof +L1` shows open files that have no name any more. Which call "
        "gives you something that is not an object?",
        "tempfile.mkstemp returns two things, and put uses one. The other is the number of an open "
        "descriptor, and nothing closes a number that is forgotten.",
        "Give the number an owner as soon as you have it, and write through that: "
        "`with os.fdopen(number, 'w', encoding='utf-8') as file:`.",
    ),
    exercise=Exercise(
        task=(
            "The cache replaces pages while others read them. After a day it fails with: Too many "
            "open files, and the disk is full, though all pages together are a few kilobytes."
        ),
        behaviours=(
            pages_can_be_read,
            a_page_is_replaced_in_one_step,
            a_draft_is_whole,
            a_draft_is_beside_its_page,
            drafts_are_told_apart,
            a_failed_put_leaves_nothing,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.mkstemp_fd"))
