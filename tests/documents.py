"""Runs the console blocks of the documents; `python -m tests.documents` writes their output anew.

A block is fenced as `console`; each line that begins with `$ ` is a command, what follows it its
output. Words after `console` say how to run it: `while="COMMAND" at="TEXT"` runs that command in
the background, waits for a line that begins with TEXT and sets PID to its process; `within=N` lets
figures differ by N and 4 % (a task that was just ending), `order=free` is for two runs whose lines
mingle, `timeout=S` for long ones. Each runs in a folder with the twins
and the programs in it that the document shows as `python file="NAME"`.
"""

import fcntl
import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```console(?P<words>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
PROGRAM = re.compile(r'^```python file="(?P<name>[^"\n]+)"\n(?P<body>.*?)^```$', re.M | re.S)
LAB_COMMAND = re.compile(r"python -m (?P<module>labs\.\w+)")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
MASKS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"(?<=AFTER )[\d.]+s(?=\] operation)", "TIME"),
    (r"(?<=AFTER |After )[\d.]+(?=s)|(?<=\()[\d.]+(?=s\))", lambda at: f"{round(float(at[0]))}"),
    (r"(?<=\d)\.\d(?=s\b)", ""),
    (r"leak-lab-\d+-\w+", "leak-lab-PID-NAME"),
    (r"(?<=-p )\d+", "PID"),
    (r"(?<=/proc/)\d+", "PID"),
    (r"\b(pid|process) \d+", r"\1 PID"),
    (r"goroutine \d+ \[", "goroutine N ["),
    (r"\bTask-\d+", "Task-N"),
    (r"'Thread-\d+", "'Thread-N"),
    (r"[\d.]+s at \d+", "TIME at LIMIT"),
    (r"from \d+ to \d+ for this run", "from LIMIT to LIMIT for this run"),
    (r"(?m)^\| Memory Growth.*$", "| Memory Growth MEASURED"),
    (r"(?<=\| )\d+(?:\.\d+)? requests", "N requests"),
    (r"0x[0-9a-f]+", "ADDRESS"),
    (r"(?m)^Time: .*$", "Time: NOW"),
    (r"\(fd \d+\)|127.0.0.1:\d{5}", "END"),
    (r"(?<=[:\]])(60[67]\d|808\d|\d{5})\b", "PORT"),
    (r"(?m)^ *\d+ (TIME|FIN)-WAIT.*\n", ""),
    (r"[ -]+", " "),
)


@dataclass(frozen=True)
class Block:
    """One console block of a document: where it stands, its words, commands and output."""

    path: Path
    line: int
    words: str
    body: str

    def __str__(self) -> str:
        """Return where it stands, for a test's name."""
        return f"{self.path.name}:{self.line}"

    @property
    def options(self) -> dict[str, str]:
        """The words after `console`."""
        return dict(word.split("=", 1) for word in shlex.split(self.words))

    @property
    def variants(self) -> list[str]:
        """The variants of a lab that it runs."""
        if "labs." not in self.body + self.words:
            return []
        alone = [each for each in ("leaky", "fixed") if f"--{each}" in self.body + self.words]
        return alone or ["leaky", "fixed"]

    @property
    def names_a_port(self) -> bool:
        """Tell whether what it runs has to know on which port a lab listens."""
        return "while" in self.options or any(
            word in command for command in self.commands for word in ("localhost:", "port")
        )

    @property
    def commands(self) -> list[str]:
        """The commands in it; a lab's own output has lines that look like one."""
        found = [line[2:] for line in self.body.splitlines() if line.startswith("$ ")]
        return found[:1] if found[0].startswith("python -m labs.") else found


def blocks(path: Path) -> list[Block]:
    """Return the console blocks of a document."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(path, text.count("\n", 0, found.start()) + 1, found["words"], found["body"])
        for found in FENCE.finditer(text)
    ]


def documents() -> list[Path]:
    """Return the documents whose blocks are run."""
    return [ROOT / "README.md", ROOT / "GUIDE.md", *sorted(ROOT.glob("resources/*.md"))]


def run(block: Block, any_ports: bool = False) -> str:
    """Return the block's body with each command's output as it is now.

    With `any_ports` a lab takes free ports where the block names none, so that blocks can run side
    by side; without, it takes its default ports as the document shows.
    """
    free = any_ports and not block.names_a_port
    with ExitStack() as stack:
        stack.enter_context(default_ports([] if free else block.variants))
        environment, timeout_s = _environment(), float(block.options.get("timeout", 30))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="document-")))
        _furnish(folder, block.path)
        if "while" in block.options:
            program = _background(block, folder, environment, timeout_s)
            environment["PID"] = stack.enter_context(program)
        settings = folder, environment, timeout_s
        return "".join(
            f"$ {each}\n{_output(with_free_ports(each) if free else each, *settings)}"
            for each in block.commands
        )


def with_free_ports(command: str) -> str:
    """Return a lab's command line with each of its ports asked for as 0; others as they are."""

    def add(found: re.Match[str]) -> str:
        lab = importlib.import_module(found["module"]).LAB
        flags = ["--port", *(option.flag for option in lab.options if option.is_port)]
        return " ".join([found[0], *(f"{flag} 0" for flag in flags)])

    return LAB_COMMAND.sub(add, command)


def _furnish(folder: Path, document: Path) -> None:
    """Put the twins into `folder`, to compare them, and the programs that `document` shows."""
    for name in ("leaky", "fixed"):
        (folder / name).symlink_to(ROOT / name)
    for found in PROGRAM.finditer(document.read_text(encoding="utf-8")):
        (folder / found["name"]).write_text(found["body"], encoding="utf-8")


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    plain = {"PATH": path, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
    return os.environ | plain


def _output(command: str, folder: Path, environment: dict[str, str], timeout_s: float) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=timeout_s,
    )
    return done.stdout


@contextmanager
def _background(
    block: Block, folder: Path, environment: dict[str, str], timeout_s: float
) -> Iterator[str]:
    """Run a block's `while` command until the end; yield its pid once it has shown its `at`.

    A report that is late shows so in its time, so that the line is compared as figures are.
    """
    process = subprocess.Popen(
        shlex.split(block.options["while"]),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    impatience = threading.Timer(timeout_s, process.kill)
    impatience.start()
    try:
        awaited = masked(block.options["at"])
        if not any(masked(line).startswith(awaited) for line in process.stdout):
            raise TimeoutError(f"{block}: no line that begins with {block.options['at']}")
        impatience.cancel()
        yield str(process.pid)
    finally:
        impatience.cancel()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)


@contextmanager
def default_ports(variants: Iterable[str] = ("leaky", "fixed")) -> Iterator[None]:
    """Wait until nobody else uses the default ports of `variants`, and hold them.

    The locks are the machine's, not the session's: suites that run at the same time share the
    ports.
    """
    with ExitStack() as stack:
        for variant in variants:
            name = f"resource-leak-lab-ports-{variant}-{os.getuid()}.lock"
            lock = stack.enter_context(Path(tempfile.gettempdir(), name).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def masked(text: str) -> str:
    """Return `text` without what differs from run to run: pids, names, addresses, widths."""
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


def alike(documented: str, measured: str, within: float = 0, in_order: bool = True) -> bool:
    """Tell whether two outputs are the same, figures within `within` and 4 % if that is set."""
    left, right = masked(documented), masked(measured)
    if not in_order:
        left, right = ("\n".join(sorted(text.splitlines())) for text in (left, right))
    if NUMBER.sub("#", left) != NUMBER.sub("#", right):
        return False
    pairs = zip(NUMBER.findall(left), NUMBER.findall(right), strict=True)
    return all(_near(float(one), float(other), within) for one, other in pairs)


def _near(one: float, other: float, within: float) -> bool:
    return abs(one - other) <= (within + 0.04 * abs(one) if within else 0)


def rewrite(path: Path) -> None:
    """Write the outputs of a document's blocks anew, as they are now."""
    for block in blocks(path):
        print(f"{block}: {'; '.join(block.commands)}", flush=True)  # noqa: T201
        old = f"```console{block.words}\n{block.body}```"
        new = f"```console{block.words}\n{run(block)}```"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


if __name__ == "__main__":
    for document in [Path(name) for name in sys.argv[1:]] or documents():
        rewrite(document.resolve())
