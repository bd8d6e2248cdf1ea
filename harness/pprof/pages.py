"""The debug server's HTML: the list of profiles, and the flame graph."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from harness.pprof.collect import PROFILE, PROFILE_IS, SNAPSHOTS
from harness.pprof.flame import svg
from harness.pprof.profile import Profile, column
from harness.pprof.units import counted

_ASSETS = {"ui.css": "text/css", "ui.js": "text/javascript"}

Counts = Mapping[str, str]
"""How many there are of each kind, `off` where nobody counts."""

OpenRow = tuple[str, str, str]
"""How many of what are open, where they were opened, and who holds them."""
Rows = Callable[[], Sequence[OpenRow]]


@dataclass(frozen=True)
class Asset:
    """A file that the pages load: its type and its text."""

    content_type: str
    text: str


def assets() -> dict[str, Asset]:
    """Read the files now: with no descriptor left they could not be read later."""
    folder = Path(__file__).parent
    return {
        name: Asset(kind, (folder / name).read_text(encoding="utf-8"))
        for name, kind in _ASSETS.items()
    }


def index(counts: Counts, exhausted: bool, limit: int, open_rows: Sequence[OpenRow] = ()) -> str:
    """Return the list of profiles with their counts, and what is open by origin and holder."""
    notice = (
        f'<p class="alarm">This process has run out of file descriptors: all {limit} are open, '
        "nothing more can be opened. See <a href='fd?debug=1'>fd</a> for what holds them.</p>"
        if exhausted
        else ""
    )
    rows = "\n".join(_row(kind, counts.get(kind, "n/a"), text) for kind, text in SNAPSHOTS.items())
    return _page(
        "/debug/pprof/",
        f"""{notice}
<table><thead><tr><th>Count</th><th>Profile</th><th>As text</th><th>As picture</th><th>What it is
</th></tr></thead><tbody>
{rows}
<tr><td></td><td><a href="profile?seconds=5">profile</a></td><td></td>
<td><a href="ui?profile=profile&amp;seconds=5">5 s</a></td><td>{escape(PROFILE_IS)}</td></tr>
<tr><td></td><td><a href="cmdline">cmdline</a></td><td></td><td></td>
<td>The command that started this process.</td></tr>
</tbody></table>
{_open(open_rows)}
<p><a href="goroutine?debug=2">full goroutine stack dump</a></p>
<p>Besides: <a href="/">the live page</a>, and <a href="/metrics">metrics</a> for Prometheus.</p>
<p>A link under Profile is a profile.proto: <code>go tool pprof URL</code> or
<code>python -m harness pprof top URL</code> read it, and add <code>?seconds=10</code> for what
came and went in that time.</p>""",
    )


def _open(rows: Sequence[OpenRow]) -> str:
    if not rows:
        return ""
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"""<h2>Opened since the start, and still open</h2>
<table><thead><tr><th>Open</th><th>Opened at</th><th>Held by</th></tr></thead><tbody>
{body}
</tbody></table>"""


def _row(kind: str, count: str, text: str) -> str:
    return (
        f'<tr><td>{count}</td><td><a href="{kind}">{kind}</a></td>'
        f'<td><a href="{kind}?debug=1">debug=1</a></td>'
        f'<td><a href="ui?profile={kind}">now</a> <a href="ui?profile={kind}&amp;seconds=5">5 s</a>'
        f"</td><td>{escape(text)}</td></tr>"
    )


def flame_graph(kind: str, seconds: float | None, profile: Profile | None, message: str) -> str:
    """Return the page with the flame graph of `profile`, or with `message` where there is none."""
    drawn = svg(profile, style=False) if profile else f'<p class="alarm">{escape(message)}</p>'
    total = f"<p>{escape(_total(profile))}</p>" if profile else ""
    return _page(
        f"{kind}: flame graph",
        f"""<form><label>Profile <select name="profile">{_options(kind)}</select></label>
<label>Seconds <input name="seconds" size="4" inputmode="decimal" value="{seconds or ""}"></label>
<button>Take it</button>
<label>Find <input id="find" type="search" autocomplete="off"></label>
<output id="found"></output> <button type="button" id="reset">Zoom out</button></form>
{total}
<div id="graph">{drawn}</div>
<p><a href="/debug/pprof/">All profiles</a>. The outermost call is at the top. Click a box to
widen it. With seconds, a snapshot shows what came (warm) and went (green) in that time.</p>""",
    )


def _total(profile: Profile) -> str:
    shown = column(profile)
    unit = profile.types[shown]
    total = sum(sample.values[shown] for sample in profile.samples)
    return " ".join([f"Total: {counted(total, unit.type, unit.unit)}.", *profile.comments])


def _options(selected: str) -> str:
    kinds: Iterable[str] = (*SNAPSHOTS, PROFILE)
    return "".join(
        f"<option{' selected' if kind == selected else ''}>{kind}</option>" for kind in kinds
    )


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="/debug/pprof/ui.css"><script defer src="/debug/pprof/ui.js"></script>
</head><body><h1>{escape(title)}</h1>
{body}
</body></html>
"""
