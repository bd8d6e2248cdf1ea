"""From the command to the START line, against an equivalent Go program; what imports cost."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from .bench_pace import HERE, built
from .measure import Limit, Table, against, duration, in_turn

ROOT = HERE.parents[1]
LAB = [sys.executable, "-m", "labs.file_leak", "--leaky", "--port=0"]
IMPORTED = re.compile(r"import time: +\d+ \| +(?P<us>\d+) \| +(?P<name>\S+)$", re.M)
DEAREST = 8


def until_start(command: Sequence[str]) -> None:
    """Run a program until its START line, then end it; its byte code is kept, as is usual."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(
        command, cwd=ROOT, env=kept, stdout=subprocess.PIPE, text=True
    ) as program:
        assert any(line.startswith("[START]") for line in program.stdout)
        program.terminate()
        program.stdout.read()


def starts(rounds: int) -> Table:
    """Time the start of the lab, of Python itself, and of Go run and built."""
    with tempfile.TemporaryDirectory() as folder:
        works = {
            "labs.file_leak": lambda: until_start(LAB),
            "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        }
        if go := built(folder):
            source = str(HERE / "goprogram" / "main.go")
            works["go run"] = lambda: until_start(["go", "run", source])
            works["Go, built"] = lambda: until_start([go])
        medians = in_turn(works, rounds)
    limits = []
    if "go run" in medians:
        limits = [Limit("the lab against go run", medians["labs.file_leak"] / medians["go run"], 1)]
    note = "`go run` finds its build in the cache from the second run on, as here."
    rows = against(medians, "labs.file_leak")
    return Table("Time to the START line", ["", "median", "× the lab"], rows, limits, note)


def imports() -> Table:
    """Show the dearest modules that the lab's start imports, with all that each brings along."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, "-c", "import labs.file_leak"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = sorted(((int(us), name) for us, name in IMPORTED.findall(done.stderr)), reverse=True)
    rows = [[name, duration(us / 1e6)] for us, name in found[:DEAREST]]
    return Table("Imports of a lab", ["module", "with what it imports"], rows)


def tables(rounds: int) -> list[Table]:
    """Measure both."""
    return [starts(max(3, rounds // 2)), imports()]
