"""The live page at thousands of descriptors: what a look costs, and how late it makes the lab."""

import json
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass, field

from .measure import Effort, Limit, Row, Table, duration, in_memory, seconds

RATE_HZ = 1000
REPORT_S = 0.5
VISITS = {
    "nobody": "",
    "the page": "page/open.json",
    "the page with a group open": "page/open.json?holders=1",
}


@dataclass
class Visited:
    """A run: its descriptors and how late its reports came; how long and large answers were."""

    open_fds: int = 0
    late_s: float = 0.0
    answers_s: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


def visited(path: str, duration_s: float) -> Visited:
    """Run the leaky lab while somebody asks for `path` after each report."""
    length = [f"--rate={RATE_HZ}", f"--duration={duration_s:g}", f"--report-every={REPORT_S}"]
    command = [sys.executable, "-m", "labs.file_leak", "--leaky", "--json", "--port=0", *length]
    seen = Visited()
    with subprocess.Popen(command, env=in_memory(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["server_port"]
        visitor = threading.Thread(target=visit, args=(f"http://localhost:{port}/", path, seen))
        visitor.start()
        lines = [json.loads(line) for line in process.stdout]
        visitor.join()
    reports = [line for line in lines if line["event"] == "report"]
    late_s = [each["elapsed_s"] - REPORT_S * at for at, each in enumerate(reports, start=1)]
    seen.late_s, seen.open_fds = max(late_s), reports[-1]["values"]["process_open_fds"]
    return seen


def visit(base: str, path: str, seen: Visited) -> None:
    """Follow the run as the page does, until it ends."""
    told = {"ended": not path, "changes": -1}
    while not told["ended"]:
        try:
            told = json.loads(get(f"{base}page/run.json?after={told['changes']}"))
            seen.answers_s.append(seconds(lambda: seen.sizes.append(len(get(base + path)))))
        except OSError:
            return


def get(url: str) -> bytes:
    """Return the body of an answer."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body


def row(name: str, seen: Visited) -> Row:
    """Return a table's row."""
    slowest = duration(max(seen.answers_s)) if seen.answers_s else "–"
    largest = f"{max(seen.sizes)} bytes" if seen.sizes else "–"
    cells = [name, str(seen.open_fds), duration(max(seen.late_s, 0.0)), slowest, largest]
    return Row(cells, [Limit(seen.late_s, "s late", REPORT_S)])


def tables(effort: Effort) -> list[Table]:
    """Measure the lab with and without a visitor."""
    duration_s = 4.0 if effort.short else 12.0
    rows = [row(name, visited(path, duration_s)) for name, path in VISITS.items()]
    headers = [
        "who looks",
        "descriptors",
        "reports late, most",
        "answer, longest",
        "answer, largest",
    ]
    note = (
        f"The leaky file lab at {RATE_HZ} files a second, a report every {REPORT_S} s, in memory."
    )
    return [Table("Live page", headers, rows, note)]
