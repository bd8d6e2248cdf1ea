"""Go's own `go tool pprof`, and a browser, on the pages of the debug server."""

import os
import re
import shutil
import socket
import subprocess
import time
import tracemalloc
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.pprof import programs
from tests.pprof.conftest import Server
from tests.pprof.programs import LoopThread

needs_go = pytest.mark.skipif(not shutil.which("go"), reason="go is not installed")
needs_dot = pytest.mark.skipif(not shutil.which("dot"), reason="graphviz is not installed")
needs_chromium = pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium installed")


def pprof(folder: Path, *arguments: str) -> str:
    """Run `go tool pprof`, which must succeed, and return what it printed."""
    command = ["go", "tool", "pprof", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    """Keep what pprof saves in `folder`."""
    return {**os.environ, "HOME": str(folder), "PPROF_TMPDIR": str(folder)}


def save(server: Server, page: str, path: Path) -> str:
    """Save a page as `curl URL > FILE` does, and return the file's path."""
    path.write_bytes(server.get(page).body)
    return str(path)


@needs_go
def test_top_traces_and_raw_show_what_waits(
    server: Server, program: LoopThread, tmp_path: Path
) -> None:
    """Total, stack and labels are those of the server's own text."""
    for number in range(5):
        program.start(programs.iterates, f"probed-{number}")
    total = server.get("goroutine?debug=1").text.split()[3]
    saved = save(server, "goroutine", tmp_path / "x.pprof")
    table = pprof(tmp_path, "-top", saved)
    assert f"of {total} total" in table
    assert any(line.split()[3:] == ["5", row_share(5, total), GENERATED] for line in rows(table))
    traces = pprof(tmp_path, "-traces", saved)
    assert "name:  probed-4\n" in traces
    assert "state:  chan receive\n" in traces
    stack = ["asyncio.locks.Event.wait", LEAF, GENERATED, "tests.pprof.programs.iterates"]
    assert "".join(f"             {name}\n" for name in stack[1:]) in traces
    raw = pprof(tmp_path, "-raw", server.base + "goroutine")
    assert "PeriodType: goroutine count" in raw
    assert "[FN][FL][LN]" in raw


GENERATED = "tests.pprof.programs.generated"
LEAF = "tests.pprof.programs.leaf"


def rows(table: str) -> list[str]:
    """Return the rows of `-top` below its head."""
    return table.partition("cum%\n")[2].splitlines()


def row_share(count: int, total: str) -> str:
    """Return a share as pprof prints it: three digits."""
    share = 100 * count / int(total)
    return f"{share:.3g}%" if share >= 99.95 else f"{share:.2f}%"


@needs_go
def test_base_leaves_only_what_is_new(server: Server, program: LoopThread, tmp_path: Path) -> None:
    """Tasks that were there before are nothing; the two new ones are +2."""
    for number in range(3):
        program.start(programs.iterates, f"before-{number}")
    baseline = save(server, "goroutine", tmp_path / "baseline.pprof")
    for number in range(2):
        program.start(programs.iterates, f"new-{number}")
    current = save(server, "goroutine", tmp_path / "current.pprof")
    traces = pprof(tmp_path, "-traces", f"-base={baseline}", current)
    assert "new-0" in traces
    assert "before-0" not in traces
    table = pprof(tmp_path, "-top", f"-base={baseline}", current)
    assert any(line.split()[3] == "2" and line.endswith(GENERATED) for line in rows(table))


@needs_go
@pytest.mark.parametrize("kind", ["threadcreate", "fd", "socket", "profile?seconds=0.2"])
def test_every_kind_is_read(server: Server, kind: str, tmp_path: Path) -> None:
    """Each is a whole profile to pprof; its type is the kind's own."""
    table = pprof(tmp_path, "-top", save(server, kind, tmp_path / "x.pprof"))
    assert "Showing nodes accounting for" in table
    kinds = {"profile?seconds=0.2": ("cpu", "wall")}.get(kind, (kind,))
    assert any(f"Type: {each}\n" in table for each in kinds)


@needs_go
def test_the_heap_is_read(server: Server, tmp_path: Path) -> None:
    """With tracemalloc on, the line that keeps two megabytes is at the top."""
    tracemalloc.start(8)
    try:
        kept = bytearray(2_000_000)
        saved = save(server, "heap", tmp_path / "heap.pprof")
    finally:
        tracemalloc.stop()
    table = pprof(tmp_path, "-top", "-sample_index=inuse_space", saved)
    assert len(kept) == 2_000_000
    assert "test_interop.py:" in rows(table)[0]
    assert rows(table)[0].split()[0] == "1953.18kB"


@needs_go
def test_the_text_form_is_read_too(server: Server, tmp_path: Path) -> None:
    """pprof takes `?debug=1` as one of its older forms: its total is the same."""
    total = server.get("goroutine?debug=1").text.split()[3]
    text = save(server, "goroutine?debug=1", tmp_path / "x.txt")
    assert f"of {total} total" in pprof(tmp_path, "-top", text)


@needs_go
def test_a_refusal_is_printed_by_pprof(server: Server, tmp_path: Path) -> None:
    """The text says how to turn tracemalloc on, and pprof passes it on."""
    command = ["go", "tool", "pprof", "-top", server.base + "heap"]
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, timeout=100
    )
    assert done.returncode != 0
    assert "--tracemalloc 16" in done.stderr


@needs_go
@needs_dot
def test_graphviz_draws_it(server: Server, program: LoopThread, tmp_path: Path) -> None:
    """`-svg` has a box for each function, with its count."""
    program.start(programs.iterates, "probed")
    saved = save(server, "goroutine", tmp_path / "x.pprof")
    pprof(tmp_path, "-svg", "-output=x.svg", "-nodefraction=0", saved)
    assert "programs.generated" in (tmp_path / "x.svg").read_text().replace("&#45;", "-")


SERVED = re.compile(r"^Serving web UI on http://localhost:(\d+)")


@contextmanager
def served_by_pprof(folder: Path, saved: str) -> Iterator[str]:
    """Run `go tool pprof -http` on a free port until the block ends; yield its address."""
    command = ["go", "tool", "pprof", "-http=localhost:", "-no_browser", saved]
    with subprocess.Popen(
        command, env=environment(folder), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            told = iter(process.stderr.readline, "")
            served = next(filter(None, map(SERVED.search, told)), None)
            assert served, "pprof -http ended"
            wait_for(int(served[1]), process)
            yield f"http://localhost:{served[1]}"
        finally:
            os.killpg(process.pid, 9)


def wait_for(port: int, process: "subprocess.Popen[str]", limit_s: float = 60) -> None:
    """Return when somebody listens on `port`; fail if the process ends or takes too long."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("pprof -http did not begin to listen")


def rendered(url: str, folder: Path, *more: str) -> str:
    """Return the page as headless Chromium has it after its scripts have run."""
    quiet = "--disable-background-networking --disable-component-update --disable-sync"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", *quiet.split(), f"--user-data-dir={folder}/chromium", *more]
    done = subprocess.run(
        [*command, "--dump-dom", url], capture_output=True, text=True, timeout=100
    )
    return done.stdout


@needs_go
@needs_dot
@needs_chromium
def test_the_web_page_of_pprof_shows_it(
    server: Server, program: LoopThread, tmp_path: Path
) -> None:
    """`-http`: the table and the flame graph have the function, in a browser too."""
    program.start(programs.iterates, "probed")
    with served_by_pprof(tmp_path, save(server, "goroutine", tmp_path / "x.pprof")) as base:
        with urllib.request.urlopen(f"{base}/ui/flamegraph", timeout=60) as answer:
            assert b"programs.generated" in answer.read()
        table = rendered(f"{base}/ui/top", tmp_path)
    assert "tests.pprof.programs.generated</td>" in table


@needs_chromium
def test_the_flame_graph_works_offline_in_a_browser(
    server: Server, program: LoopThread, tmp_path: Path
) -> None:
    """The page's own script has run: its search finds the call that the address names.

    The graph is as wide as the window.
    """
    program.start(programs.iterates, "probed")
    address = f"{server.base}ui?profile=goroutine#programs.generated"
    page = rendered(address, tmp_path, "--window-size=700,500")
    assert "1 found</output>" in page
    assert 500 < int(re.search(r'<svg [^>]*width="(\d+)"', page)[1]) < 700
    assert 'class="found"' in page
