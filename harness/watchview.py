"""A watched process as lines, as CSV, or as a live table."""

import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from .console import number, seconds
from .gauges import OPEN_FDS, RSS_BYTES, THREADS
from .model import Verdict
from .probes.process import Listing
from .probes.sockets import STATES
from .terminal import YELLOW, Terminal, carried
from .watching import Report

if TYPE_CHECKING:
    from rich.console import Group

SEPARATOR = "  |  "
WARNING = "⚠️  WARNING"
KINDS = ("file", "device", "pipe", "socket")
STATES_IN_CSV = (*STATES.values(), "UDP", "UNIX")


class View(Protocol):
    """Shows reports as they come, and what is to be said about them."""

    def report(self, report: Report) -> None:
        """Show `report`."""

    def say(self, line: str, colour: str | None = None) -> None:
        """Show a line that is no report."""

    def close(self) -> None:
        """Take away what shows no more; lines can be shown after that, too."""


def megabytes(value: float | None) -> str:
    """Return bytes as they are printed."""
    return "n/a" if value is None else f"{value / 1e6:.1f} MB"


def limit(value: float | None) -> str:
    """Return a limit as it is printed."""
    return "none" if value == math.inf else number(value)


def rate(value: float | None, unit: str = "/s") -> str:
    """Return a rate of growth or a change as it is printed: about three digits, with its sign."""
    if value is None:
        return "n/a"
    return f"{value or 0.0:+.3g}{unit}" if abs(value) < 1000 else f"{value:+.0f}{unit}"


def limit_in(report: Report) -> str:
    """Return in how many seconds the descriptors run out, or why they do not."""
    if report.limit_in_s is not None:
        return seconds(report.limit_in_s, 0)
    if report.fd_limit is None or report.growth_per_s[OPEN_FDS] is None:
        return "n/a"
    return "never" if report.fd_limit == math.inf else "not growing"


def counts(named: Mapping[str, int]) -> str:
    """Return counts by name, the greatest first."""
    return ", ".join(f"{name} {count}" for name, count in ordered(named)) or "none"


def ordered(named: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return counts by name, the greatest first."""
    return sorted(named.items(), key=lambda item: (-item[1], item[0]))


def age(report: Report) -> str:
    """Return how old the listing is, nothing when it is of this report."""
    return f" ({seconds(report.listing_age_s)} ago)" if report.listing_age_s >= 0.05 else ""


def fields(report: Report) -> Iterator[tuple[str, str]]:
    """Yield label and figure of all that a report's line holds."""
    yield OPEN_FDS.label, number(report.values[OPEN_FDS])
    yield "Limit", limit(report.fd_limit)
    if report.number:
        yield "Growth", rate(report.growth_per_s[OPEN_FDS])
        yield "Limit in", limit_in(report)
    yield THREADS.label, number(report.values[THREADS])
    yield RSS_BYTES.label, megabytes(report.values[RSS_BYTES])
    yield f"Kinds{age(report)}", counts(report.listing.kinds) if report.listing else "n/a"
    if report.listing and report.listing.states:
        yield "Sockets", counts(report.listing.states)


def line(report: Report) -> str:
    """Return a report as one line."""
    when = f"AFTER {seconds(report.elapsed_s)}" if report.number else "START"
    return f"[{when}] " + SEPARATOR.join(f"{label}: {figure}" for label, figure in fields(report))


def verdict_lines(verdict: Verdict, pid: int) -> list[str]:
    """Return a leak as the labs word it: a warning, the evidence, the next command to run."""
    what = {OPEN_FDS: "File descriptor", THREADS: "Thread"}[verdict.gauge]
    return [
        "",
        f"{WARNING}: {what} leak detected!",
        verdict.evidence,
        f"See what they are: {inspection(verdict, pid, sys.platform)}",
        "Which line opens them: start the program with python -m harness run SCRIPT",
    ]


def inspection(verdict: Verdict, pid: int, platform: str) -> str:
    """Return the command that lists what grew."""
    if verdict.gauge is THREADS:
        return f"ps -T -p {pid}" if platform == "linux" else f"ps -M {pid}"
    return f"ls -l /proc/{pid}/fd | tail" if platform == "linux" else f"lsof -p {pid} | tail"


def summary(why: str, elapsed_s: float, reports: Sequence[Report]) -> list[str]:
    """Return why watching ended after `elapsed_s`, and what changed since the first report."""
    if not reports:
        return [f"{why} before it could be measured"]
    first, last = reports[0], reports[-1]
    reports_made = f"{last.number + 1} report{'s' if last.number else ''}"
    lines = [f"{why}, after {seconds(elapsed_s)} and {reports_made}:"]
    for gauge in (OPEN_FDS, THREADS, RSS_BYTES):
        shown = megabytes if gauge is RSS_BYTES else number
        lines.append(f"  {gauge.title}: {shown(first.values[gauge])} → {shown(last.values[gauge])}")
    if last.limit_in_s is not None:
        growth = rate(last.growth_per_s[OPEN_FDS])
        lines.append(f"  At {growth} the limit of {limit(last.fd_limit)} is {limit_in(last)} away")
    return lines


class Lines:
    """One line per report, for a pipe or a file."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def report(self, report: Report) -> None:
        """Write the line of `report`."""
        self._terminal.line(line(report))

    def say(self, line: str, colour: str | None = None) -> None:
        """Write `line` among them."""
        self._terminal.line(line, colour)

    def close(self) -> None:
        """Do nothing: what was written stays."""


class Csv:
    """One row per report on `stream`; what else there is to say goes to `messages`.

    Cells of what could not be measured are empty, and so is `fd_limit` where there is none.
    """

    HEADER = (
        "elapsed_s",
        "open_fds",
        "lowest_fds",
        "highest_fds",
        "fd_limit",
        "growth_per_s",
        "limit_in_s",
        "threads",
        "rss_bytes",
        "listing_age_s",
        *(f"{kind}_fds" for kind in KINDS),
        "other_fds",
        *(f"{state.lower()}_sockets" for state in STATES_IN_CSV),
        "other_sockets",
    )

    def __init__(self, stream: TextIO, messages: Terminal) -> None:
        self._stream = stream
        self._messages = messages
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(self.HEADER)

    def report(self, report: Report) -> None:
        """Write the row of `report` and send it on its way."""
        self._writer.writerow(map(_cell, _row(report)))
        self._stream.flush()

    def say(self, line: str, colour: str | None = None) -> None:
        """Write `line` where it does not disturb the rows."""
        self._messages.line(line, colour)

    def close(self) -> None:
        """Do nothing: what was written stays."""


def _row(report: Report) -> Iterator[float | None]:
    yield report.elapsed_s
    yield report.values[OPEN_FDS]
    yield report.lowest[OPEN_FDS]
    yield report.highest[OPEN_FDS]
    yield None if report.fd_limit == math.inf else report.fd_limit
    yield report.growth_per_s[OPEN_FDS]
    yield report.limit_in_s
    yield report.values[THREADS]
    yield report.values[RSS_BYTES]
    yield report.listing_age_s if report.listing else None
    listing = report.listing or Listing({}, {})
    yield from _columns(listing.kinds, KINDS, report.listing is not None)
    yield from _columns(listing.states, STATES_IN_CSV, report.listing is not None)


def _columns(
    named: Mapping[str, int], names: tuple[str, ...], is_known: bool
) -> Iterator[int | None]:
    """Yield the count of each of `names`, then that of all others."""
    yield from (named.get(name, 0) if is_known else None for name in names)
    yield sum(count for name, count in named.items() if name not in names) if is_known else None


def _cell(value: float | None) -> str:
    return "" if value is None else str(round(value, 3))


class Table:
    """A table on a terminal that shows the last report; it is gone when watching ends."""

    def __init__(self, terminal: Terminal, stream: TextIO, title: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._terminal = terminal
        self._encoding = stream.encoding
        self._title = title
        self._first: Report | None = None
        self._live = Live(
            console=Console(file=stream, markup=False, highlight=False, emoji=False),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def report(self, report: Report) -> None:
        """Show `report` in the place of the one before."""
        self._live.start()
        self._first = self._first or report
        self._live.update(self._table(self._first, report), refresh=True)

    def say(self, line: str, colour: str | None = None) -> None:
        """Write `line` where it stays, above the table while that is there."""
        if not self._live.is_started:
            self._terminal.line(line, colour)
            return
        style = "yellow" if colour == YELLOW else None
        self._live.console.print(carried(line, self._encoding), style=style, soft_wrap=True)

    def close(self) -> None:
        """Take the table away."""
        self._live.stop()

    def _table(self, first: Report, report: Report) -> "Group":
        from rich.console import Group
        from rich.table import Table as Grid
        from rich.text import Text

        title = carried(f"{self._title} · {seconds(report.elapsed_s)}", self._encoding)
        table = Grid()
        for heading in ("", "Now", "Growth", "Since start"):
            table.add_column(heading, justify="left" if not heading else "right", overflow="fold")
        for row in rows(first, report):
            table.add_row(*(Text(carried(cell, self._encoding)) for cell in row))
        return Group(Text(title, no_wrap=True, overflow="crop"), table)


Row = tuple[str, str, str, str]


def rows(first: Report, report: Report) -> Iterator[Row]:
    """Yield the table's rows: figure, its value now, its rate of growth, its change."""
    for gauge in (OPEN_FDS, THREADS, RSS_BYTES):
        shown = megabytes if gauge is RSS_BYTES else number
        value, before = report.values[gauge], first.values[gauge]
        change = None if value is None or before is None else value - before
        unit = 1e6 if gauge is RSS_BYTES else 1.0
        growth = report.growth_per_s[gauge]
        yield (
            gauge.title,
            shown(value),
            rate(None if growth is None else growth / unit, " MB/s" if unit > 1 else "/s"),
            rate(None if change is None else change / unit, " MB" if unit > 1 else ""),
        )
        if gauge is OPEN_FDS:
            yield "  limit", limit(report.fd_limit), "", ""
            yield "  limit in", limit_in(report), "", ""
    yield from _listing_rows(first, report)


def _listing_rows(first: Report, report: Report) -> Iterator[Row]:
    if report.listing is None:
        yield "Descriptors by kind", "n/a", "", ""
        return
    before = first.listing or Listing({}, {})
    yield f"Descriptors by kind{age(report)}", "", "", ""
    yield from _count_rows(report.listing.kinds, before.kinds)
    if report.listing.states or before.states:
        yield f"Sockets by state{age(report)}", "", "", ""
        yield from _count_rows(report.listing.states, before.states)


def _count_rows(now: Mapping[str, int], before: Mapping[str, int]) -> Iterator[Row]:
    for name, count in ordered({**dict.fromkeys(before, 0), **now}):
        yield f"  {name}", str(count), "", f"{count - before.get(name, 0):+d}"
