"""From the command to the START line, against an equivalent Go program; what imports cost."""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from .bench_pace import HERE, built
from .measure import (
    FEWEST_ROUNDS,
    Effort,
    Limit,
    Row,
    Table,
    Work,
    against,
    duration,
    in_turn,
    ratio,
)

ROOT = HERE.parents[1]
LAB = [sys.executable, "-m", "labs.file_leak", "--leaky", "--port=0"]
IMPORTED = re.compile(r"import time: +\d+ \| +(?P<us>\d+) \| +(?P<name>\S+)$", re.M)
DEAREST = 8
HEAVY = "asyncio", "aiohttp", "google.protobuf", "httpx", "matplotlib", "psutil", "rich", "tabulate"


def plain() -> dict[str, str]:
    """Return a plain shell's environment: byte code is kept, certificates are where they are."""
    unusual = "PYTHONDONTWRITEBYTECODE", "SSL_CERT_FILE", "SSL_CERT_DIR"
    return {key: value for key, value in os.environ.items() if key not in unusual}


def until_start(line: Sequence[str], folder: str) -> None:
    """Run a program until its START line; what follows is cut off, whatever it has started too.

    `folder` is where it puts what it then leaves.
    """
    environment = plain() | {"TMPDIR": folder}
    with subprocess.Popen(
        line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert any(line.startswith("[START]") for line in program.stdout)
        os.killpg(program.pid, signal.SIGKILL)


def processor_ratio(one: Work, other: Work) -> float:
    """Return how many times the other's processor time one's is; what else runs adds little."""
    times = [(processor_s(one), processor_s(other)) for _ in range(FEWEST_ROUNDS)]
    ones, others = zip(*times, strict=True)
    return min(ones) / min(others)


def processor_s(work: Work) -> float:
    """Return the processor time of what `work` starts and ends, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def starts(effort: Effort) -> Table:
    """Time the start of the lab, of Python itself, and of Go run and built."""
    source = str(HERE / "goprogram" / "main.go")
    ours, theirs = "labs.file_leak", "go run"
    with tempfile.TemporaryDirectory() as folder:
        works: dict[str, Work] = {
            ours: lambda: until_start(LAB, folder),
            "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
            theirs: lambda: until_start(["go", "run", source], folder),
            "Go, built": lambda: until_start([built(folder)], folder),
        }
        medians = in_turn(works, effort)
        limits = [Limit(ratio(medians, ours, theirs), "× go run", 1)]
        if medians[theirs] is not None:
            limits.append(
                Limit(processor_ratio(works[ours], works[theirs]), "× its processor time", 1.2, 1.6)
            )
    rows = against(medians, ours, *limits)
    note = "`go run` finds its packages built from the second time on, and only links, as here."
    return Table("From the command to the START line", ["", "median", "× the lab"], rows, note)


def imports() -> Table:
    """Show the dearest modules that the lab's start imports, and which it leaves for later."""
    environment = plain() | {"PYTHONPROFILEIMPORTTIME": "1"}
    line = [sys.executable, "-c", "import labs.file_leak"]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = {name: int(us) for us, name in IMPORTED.findall(done.stderr)}
    dearest = sorted(found, key=found.__getitem__, reverse=True)[:DEAREST]
    heavy = sum(name in found for name in HEAVY)
    first = Limit(heavy, "heavy imports", 0, 0)
    rows = [
        Row([name, duration(found[name] / 1e6)], [first] if name == "labs.file_leak" else [])
        for name in dearest
    ]
    note = f"Left for when they are needed: {', '.join(HEAVY)}."
    return Table("What `import labs.file_leak` imports", ["", "with its own imports"], rows, note)


def tables(effort: Effort) -> list[Table]:
    """Measure both."""
    return [starts(effort), imports()]
