"""Fuzzes one reader with atheris: `python -m tests.faults.fuzzing TARGET FOLDER [OPTION ...]`.

The options are libFuzzer's. In FOLDER are the examples to begin with and what the readers read.
What a reader raises beside its documented errors ends the run with a traceback and another status.
"""

import contextlib
import gzip
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["harness", "labs"]):
    from harness.gauges import OPEN_FDS
    from harness.jsonlines import Reader
    from harness.model import Lab
    from harness.pprof import cli, proto, report
    from harness.pprof.flame import svg
    from harness.pprof.profile import Frame, Profile, ProfileError, Sample, ValueType, difference
    from labs.course import progress

EXAMPLE = Profile(
    types=(ValueType("fd", "count"), ValueType("space", "bytes")),
    samples=(
        Sample((Frame.at("store", "a.py", 3), Frame.at("main", "b.py", 9)), (2, 300), (("n", 1),)),
        Sample((Frame.at("main", "b.py", 9),), (-1, 0), (("kind", "file"),)),
    ),
    period_type=ValueType("fd", "count"),
    time_ns=1_700_000_000 * 10**9,
    default_type="fd",
    program="a.py",
    comments=("said",),
)
SAMPLE = {"elapsed_s": 1.0, "operations": 5, "values": {"open_fds": 9, "other": None}}
LINES = (
    {"event": "report", "lab": "x", "variant": "leaky", "pid": 1, "notices": [], "server_port": 1}
    | SAMPLE,
    {"event": "report", "verdict": None} | SAMPLE,
    {"event": "failure", "kind": "K", "message": "", "elapsed_s": 1, "operation": 2, "count": 1},
    {"event": "exhaustion", "sample": SAMPLE, "message": "m", "open_by_directory": {}},
    {"event": "evidence", "lines": ["a"]},
)


def profile(data: bytes) -> None:
    """Read a profile, gzipped or not, and render it in every way."""
    given = gzip.compress(data[1:], 1) if data[:1] == b"z" else data
    try:
        found = proto.decode(given)
    except ProfileError as error:
        assert 0 < len(str(error)) < 1000
        return
    report.top(found, 20), report.traces(found), svg(found)
    difference(found, found)
    proto.encode(found)


def command(data: bytes) -> None:
    """Give a file to `harness pprof`: it is shown, or refused in one line."""
    Path("given").write_bytes(data)
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said):
        status = cli.main(["top", "given"], out)
    assert (status, bool(out.getvalue())) == (0, True) or status == 2
    assert status == 0 or (
        said.getvalue().startswith("harness pprof: error: ") and said.getvalue().count("\n") == 1
    )


def course(data: bytes) -> None:
    """Load a learner's progress: a damaged file is put aside, and told."""
    progress.FILE.parent.mkdir(exist_ok=True)
    progress.FILE.write_bytes(data)
    for aside in progress.FILE.parent.glob("progress.damaged*"):
        aside.unlink()
    known, said = progress.load()
    assert not said or not progress.FILE.exists()
    progress.save(known.with_hint("file_leak", 1).with_pass("file_leak"))
    again, said = progress.load()
    assert not said
    assert "file_leak" in again.passed


LAB = Lab.__new__(Lab)


def lines(data: bytes) -> None:
    """Read a run's JSON lines: those that are not ours are a ValueError."""
    reader = Reader(LAB)
    for line in data.decode(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            reader.events(line)


def examples(target: str) -> list[bytes]:
    """Return what fuzzing begins with."""
    if target in ("profile", "command"):
        packed = proto.encode(EXAMPLE)
        return [packed, gzip.decompress(packed), b"z" + gzip.decompress(packed)]
    if target == "course":
        return [b'{"hints": {"file_leak": 2}, "passed": ["http_leak"]}']
    return ["\n".join(map(json.dumps, LINES)).encode()]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "profile": profile,
    "command": command,
    "course": course,
    "lines": lines,
}

if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for position, example in enumerate(examples(name)):
        (corpus / str(position)).write_bytes(example)
    os.chdir(folder)
    for field in ("counters", "gauges"):
        object.__setattr__(LAB, field, (OPEN_FDS,))
    atheris.Setup([sys.argv[0], *sys.argv[3:], str(corpus)], TARGETS[name])
    atheris.Fuzz()
