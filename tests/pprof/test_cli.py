"""`python -m harness pprof` on profiles of this program and of Go's own."""

import gzip
import io
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.pprof.cli import main
from harness.pprof.profile import Frame, Profile, Sample, ValueType
from harness.pprof.proto import encode
from tests.pprof import programs
from tests.pprof.conftest import Server
from tests.pprof.programs import LoopThread

COUNT = ValueType("goroutine", "count")
READ, SERVE, MAIN = (
    Frame.at("net.read", "net.py", 7, 5),
    Frame.at("app.serve", "app.py", 20, 10),
    Frame.at("app.main", "app.py", 3, 1),
)


def run(*argv: str) -> str:
    """Run the command, which must succeed, and return what it wrote."""
    out = io.StringIO()
    assert main(argv, out) == 0
    return out.getvalue()


def saved(path: Path, *samples: Sample) -> str:
    """Save a profile of `samples` and return its path."""
    path.write_bytes(encode(Profile((COUNT,), samples, COUNT, program="app.py")))
    return str(path)


@pytest.fixture
def before(tmp_path: Path) -> str:
    """Twelve read, four are in main."""
    return saved(tmp_path / "before.pprof", Sample((READ, SERVE), (12,)), Sample((MAIN,), (4,)))


@pytest.fixture
def after(tmp_path: Path) -> str:
    """Forty-eight read, two are in main."""
    return saved(tmp_path / "after.pprof", Sample((READ, SERVE), (48,)), Sample((MAIN,), (2,)))


def test_top_has_own_and_cumulative_values(after: str) -> None:
    """The whole table, as pprof lays it out."""
    assert run("top", after) == (
        "File: app.py\n"
        "Type: goroutine\n"
        "Showing nodes accounting for 50, 100% of 50 total\n"
        "      flat  flat%   sum%        cum   cum%\n"
        "        48    96%    96%         48    96%  net.read\n"
        "         2     4%   100%          2     4%  app.main\n"
        "         0     0%   100%         48    96%  app.serve\n"
    )
    assert "Showing top 1 nodes out of 3\n" in run("top", after, "-n", "1")


def test_traces_has_a_block_for_each_stack(after: str) -> None:
    """The innermost call beside the value, its callers below."""
    assert "        48   net.read\n             app.serve\n-----" in run("traces", after)


def test_diff_is_what_came_and_went(before: str, after: str) -> None:
    """36 more in one place, 2 fewer in the other."""
    table = run("diff", after, "--base", before)
    assert "        36 94.74% 94.74%         36 94.74%  net.read\n" in table
    assert "        -2 -5.263% 89.47%         -2 -5.263%  app.main\n" in table
    assert "36 app" not in run("traces", after, "--base", after)


def test_svg_is_a_picture_that_stands_alone(after: str, tmp_path: Path) -> None:
    """Well-formed, without script, every call with its share."""
    run("svg", after, "-o", str(tmp_path / "x.svg"))
    text = (tmp_path / "x.svg").read_text()
    root = ElementTree.fromstring(text)
    titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "net.read: 48 goroutines, 96.0 %" in titles
    assert titles[0] == "all: 50 goroutines, 100.0 %"
    assert "script" not in text


def test_a_running_program_is_read_by_its_address(server: Server, program: LoopThread) -> None:
    """The same commands on a URL."""
    program.start(programs.iterates, "probed")
    assert "programs.generated" in run("traces", server.base + "goroutine")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["top", "nowhere.pprof"], "cannot read nowhere.pprof: No such file"),
        (["top", __file__], "test_cli.py: not a profile.proto"),
        (["top", "http://127.0.0.1:1/x"], "Connection refused. Is the program running?"),
        (["top", "http://[/x"], "cannot read http://[/x"),
        (["diff", "AFTER"], "add --base FILE_OR_URL"),
        (["top", "AFTER", "--type", "bytes"], "--type bytes: the profile has goroutine"),
        (["svg", "AFTER", "-o", "/nowhere/x.svg"], "cannot write /nowhere/x.svg: No such"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    argv: list[str], said: str, after: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and one line on stderr: what was wrong, with which value, what to do."""
    assert main([after if word == "AFTER" else word for word in argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_refusal_of_the_server_is_passed_on(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the server says of the request is what the user reads."""
    assert main(["top", server.base + "heap"]) == 2
    assert "409 Conflict: tracemalloc is off" in capsys.readouterr().err


def test_broken_profiles_are_refused_and_never_crash(after: str, tmp_path: Path) -> None:
    """Whatever bytes are changed, each command ends with its output or with one line."""
    chance, sound = random.Random(7), gzip.decompress(Path(after).read_bytes())
    broken = tmp_path / "broken.pprof"
    for _ in range(300):
        data = bytearray(sound)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        broken.write_bytes(data)
        for command in ("top", "traces", "svg"):
            assert main([command, str(broken)], io.StringIO()) in (0, 2)


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    """Control characters in a name are shown as such, in tables and in pictures."""
    evil = Sample((Frame.at("\x1b[2Jevil\x00", "x.py", 1),), (1,))
    path = saved(tmp_path / "evil.pprof", evil)
    for command in ("top", "traces", "svg"):
        assert "\x1b" not in run(command, path)
    ElementTree.fromstring(run("svg", path))


def test_a_closed_output_ends_it_quietly(after: str) -> None:
    """`... | head` is no reason for a traceback; ASCII-only terminals get escapes."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "harness", "pprof", "top", after]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.fixture(scope="session")
def go_profiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Profiles that a Go program made of itself."""
    if not shutil.which("go"):
        pytest.skip("go is not installed")
    folder = tmp_path_factory.mktemp("go")
    source = Path(__file__).parent / "goprogram" / "main.go"
    subprocess.run(["go", "build", "-o", folder / "leaks", source], check=True, cwd=folder)
    subprocess.run([folder / "leaks", folder], check=True)
    return folder


@pytest.mark.timeout(300)  # Go from 1.20 on compiles its library first
def test_profiles_of_go_are_read(go_profiles: Path) -> None:
    """Eight goroutines wait, five sleep; five of each are new; 64 blocks of 64 kB are kept."""
    after, before = str(go_profiles / "after.pprof"), str(go_profiles / "before.pprof")
    assert cumulative(run("top", after, "-n", "99"), "main.waits") == "8"
    assert cumulative(run("diff", after, "--base", before), "main.waits") == "5"
    assert cumulative(run("diff", after, "--base", before), "main.sleeps") == "5"
    heap = str(go_profiles / "heap.pprof")
    assert cumulative(run("top", heap, "--type", "inuse_space"), "main.keeps") == "4MB"
    assert int(cumulative(run("top", heap, "--type", "inuse_objects"), "main.keeps")) >= 64
    assert "<title>main.keeps: 4MB inuse_space" in run("svg", heap)


def cumulative(table: str, function: str) -> str:
    """Return the cumulative value of `function` in a table of top."""
    (row,) = [line.split() for line in table.splitlines() if line.endswith(f"  {function}")]
    return row[3]
