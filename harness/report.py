"""What is open, grouped by the line that opened it, as text, JSON or HTML."""

import html
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Protocol

from harness.errors import UsageError
from harness.model import Opened
from harness.paths import relative

OUTSIDE = "opened outside Python's sight"
INTERNAL = {"stack", "is_number", "openings"}
PAIR = "socket.socketpair"
TARGETS_SHOWN = 3
HELD_BY_SHOWN = 2
UNTRACED = "an object that cannot be traced: nothing found refers to it"
NOUNS = {
    "fd": ("raw descriptor", "raw descriptors"),
    "process": ("process", "processes"),
    "directory": ("directory", "directories"),
    "sqlite3": ("sqlite3 connection", "sqlite3 connections"),
}
Frame = tuple[str, int, str]


class Held(Protocol):
    """Objects held alike: paths from a root, shortest first, and which of those asked for."""

    @property
    def paths(self) -> Sequence[str]:
        """Give one line for each path of references."""

    @property
    def members(self) -> Sequence[int]:
        """Give the positions of the objects that are held so."""


FindHolders = Callable[[Sequence[object]], Sequence[Held]]


@dataclass(frozen=True)
class Group:
    """Resources of one kind that one line opened and that are still open.

    `stack` is the most frequent one, the user's frame first, empty where no hook saw the opening;
    `opened_at_s` of the oldest; `held_by` one line for each way in which they are kept alive;
    `is_number` where no object owns them; `openings` is how many calls opened them, for a pipe or a
    pair of sockets has two ends.
    """

    kind: str
    count: int
    stack: tuple[Frame, ...]
    via: str
    targets: tuple[str, ...]
    thread_names: tuple[str, ...]
    opened_at_s: float
    held_by: tuple[str, ...] = ()
    is_number: bool = False
    openings: int = 0

    @property
    def origin(self) -> str:
        """Say where they were opened, in words."""
        if not self.stack:
            return OUTSIDE
        return f"opened at {place(self.stack[0])}" + (f" through {self.via}" if self.via else "")


@dataclass(frozen=True)
class Report:
    """All that is open in process `pid`, and why it was asked; the largest groups first."""

    reason: str
    pid: int
    groups: tuple[Group, ...]

    @property
    def total(self) -> int:
        """Count the resources."""
        return sum(group.count for group in self.groups)


def group_by_origin(
    opened: Iterable[Opened], find_holders: FindHolders | None = None
) -> tuple[Group, ...]:
    """Group resources by kind and opening line, the largest group first.

    `find_holders` is asked once for the owners of all of them; without it, holders are left out.
    """
    together: dict[object, list[Opened]] = defaultdict(list)
    for each in opened:
        together[each.kind, each.stack[:1], each.via].append(each)
    alike = sorted(together.values(), key=_rank)
    holders = _held_by(alike, find_holders) if find_holders else [()] * len(alike)
    return tuple(map(_group, alike, holders))


def _rank(alike: list[Opened]) -> tuple[int, bool, str]:
    """The most first; of as many, those that a hook saw, by kind."""
    return -len(alike), not alike[0].stack, alike[0].kind


def _group(alike: list[Opened], held_by: tuple[str, ...]) -> Group:
    first = alike[0]
    stacks = Counter(each.stack for each in alike)
    return Group(
        kind=first.kind,
        count=len(alike),
        stack=max(stacks, key=stacks.__getitem__),  # most_common imports, which takes a descriptor
        via=first.via,
        targets=tuple(dict.fromkeys(each.target for each in alike)),
        thread_names=tuple(sorted({each.thread_name for each in alike if each.thread_name})),
        opened_at_s=min(each.opened_at_s for each in alike),
        held_by=held_by,
        is_number=all(each.owner is None for each in alike),
        openings=_openings(alike),
    )


def _openings(alike: list[Opened]) -> int:
    """Count the calls that opened these: both ends of a pipe were noted at one moment."""
    moments = len({each.opened_at_s for each in alike})
    return (moments + 1) // 2 if alike[0].via == PAIR else moments


def _held_by(groups: list[list[Opened]], find: FindHolders) -> list[tuple[str, ...]]:
    """Return the holders' lines for each group, from one search for all of them."""
    owners: list[object] = []
    ranges = []
    for group in groups:
        start = len(owners)
        # A name of this function's for the last owner would be one holder more.
        found = (each.owner() for each in group if each.owner)
        owners += (owner for owner in found if owner is not None)
        ranges.append(range(start, len(owners)))
    held = find(owners) if owners else ()
    return [tuple(_lines(held, positions)) for positions in ranges]


def _lines(held: Iterable[Held], positions: range) -> Iterator[str]:
    for each in held:
        number = sum(member in positions for member in each.members)
        alike = f" (1 of {number} alike)" if number > 1 else ""
        if number:
            yield each.paths[0] + alike


def as_text(report: Report) -> str:
    """Return the report for a terminal, one paragraph for each group."""
    resources = "resource" if report.total == 1 else "resources"
    lines = [f"[harness] {report.total} {resources} open {report.reason}, in process {report.pid}"]
    for group in report.groups:
        lines.append(f"  {group.count} {noun(group)} {group.origin}")
        lines += [f"      called from {place(frame)}" for frame in group.stack[1:4]]
        lines += [f"      held by {line}" for line in group.held_by[:HELD_BY_SHOWN]]
        lines.append(f"      on {_some(group.targets)}")
    return "\n".join(lines) + "\n"


def noun(group: Group) -> str:
    """Return what a group's resources are called, in singular or plural."""
    one, many = NOUNS.get(group.kind, (group.kind, f"{group.kind}s"))
    return one if group.count == 1 else many


def place(frame: Frame) -> str:
    """Name a place in code; its file relative to the current folder if it is below."""
    file, line, function = frame
    return f"{relative(file)}:{line} in {function}"


def _some(targets: Sequence[str]) -> str:
    shown = [target or "(no name)" for target in targets[:TARGETS_SHOWN]]
    more = len(targets) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def as_json(report: Report) -> str:
    """Return the report as a JSON document."""
    groups = [
        {
            **{key: value for key, value in asdict(group).items() if key not in INTERNAL},
            "opened_at": [
                {"file": file, "line": line, "function": function}
                for file, line, function in group.stack
            ],
        }
        for group in report.groups
    ]
    document = {"reason": report.reason, "pid": report.pid, "open": report.total, "groups": groups}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_html(report: Report) -> str:
    """Return the report as one page that needs nothing else."""
    heading = f"{report.total} resources open {report.reason}"
    rows = "\n".join(map(_row, report.groups))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(heading)}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #8886; padding: .5rem; text-align: left; vertical-align: top }}
td:first-child {{ text-align: right }} code {{ overflow-wrap: anywhere }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #eee }} }}
</style></head><body>
<h1>{html.escape(heading)}</h1><p>Process {report.pid}</p>
<table><thead><tr><th scope="col">Open</th><th scope="col">Kind</th>
<th scope="col">Opened at</th><th scope="col">Held by</th><th scope="col">On</th></tr></thead>
<tbody>
{rows}
</tbody></table></body></html>
"""


def _row(group: Group) -> str:
    places = [place(frame) for frame in group.stack] or [OUTSIDE]
    opened = _code(places) + (f"<br>through {html.escape(group.via)}" if group.via else "")
    cells = (str(group.count), html.escape(group.kind), opened, _code(group.held_by))
    return (
        "<tr>"
        + "".join(f"<td>{cell}</td>" for cell in (*cells, _code([_some(group.targets)])))
        + "</tr>"
    )


def _code(lines: Iterable[str]) -> str:
    return "<br>".join(f"<code>{html.escape(line)}</code>" for line in lines)


RENDERERS: dict[str, Callable[[Report], str]] = {
    ".json": as_json,
    ".html": as_html,
    ".txt": as_text,
}


def renderer_for(path: str) -> Callable[[Report], str]:
    """Return what writes the format that a file's ending names.

    Raises:
        UsageError: the ending is none of .json, .html, .txt.
    """
    ending = PurePath(path).suffix.lower()
    if ending not in RENDERERS:
        raise UsageError(f"{path}: the ending must be one of {', '.join(RENDERERS)}")
    return RENDERERS[ending]
