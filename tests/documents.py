"""Runs the console blocks of the documents; `python -m tests.documents` writes their output anew.

A block is fenced as `console`; each line that begins with `$ ` is a command, what follows it its
output. Words after `console` say how to run it: `while="COMMAND" at="TEXT"` runs that command in
the background, waits for a line that begins with TEXT and sets PID to its process; `within=N` lets
figures differ by N and 4 % (a task that was just ending), `order=free` is for two runs whose lines
mingle, `ports=default` for what shows a lab's command line, `timeout=S` for long ones. Each runs in
a folder with the twins and the programs in it that the document shows as `python file="NAME"`.
"""

import fcntl
import importlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```console(?P<words>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
PROGRAM = re.compile(r'^```python file="(?P<name>[^"\n]+)"\n(?P<body>.*?)^```$', re.M | re.S)
LAB_COMMAND = re.compile(r"python -m (?P<module>labs\.\w+)")
NAMED_PORT = re.compile(r"(?<=:)\d{4}\b")
DEFAULTS = 6060, 8080
"""Ports of a leaky variant's debug server and of its upstream; the fixed one's are the next."""
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
    def can_move(self) -> bool:
        """Tell whether its lab can take other ports than its default ones."""
        names_a_port = "while" in self.options or any(
            word in command for command in self.commands for word in ("localhost:", "port")
        )
        return "ports" not in self.options and not (names_a_port and len(self.variants) > 1)

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

    With `any_ports` its lab takes free ports where it can, so that blocks can run side by side;
    without, it takes its default ports as the document shows.
    """
    moves = any_ports and block.can_move
    ports = free_ports(block.variants) if moves else {}
    with ExitStack() as stack:
        stack.enter_context(default_ports([] if moves else block.variants))
        environment, timeout_s = _environment(), float(block.options.get("timeout", 30))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="document-")))
        _furnish(folder, block.path)
        settings = folder, environment, timeout_s
        if "while" in block.options:
            program = _background(block, with_ports(block.options["while"], ports), *settings)
            environment["PID"] = stack.enter_context(program)
        return "".join(
            f"$ {each}\n{_output(with_ports(each, ports), *settings)}" for each in block.commands
        )


def free_ports(variants: Sequence[str]) -> dict[int, int]:
    """Return free ports of this moment for the default ones of a single variant; 0 for two."""
    offset = 1 if variants == ["fixed"] else 0
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in DEFAULTS]
        taken = [each.getsockname()[1] if len(variants) == 1 else 0 for each in listeners]
    return {port + offset: free for port, free in zip(DEFAULTS, taken, strict=True)}


def with_ports(command: str, ports: Mapping[int, int]) -> str:
    """Return a command with `ports` in the place of a lab's default ones, named or not."""
    if not ports:
        return command

    def add(found: re.Match[str]) -> str:
        lab = importlib.import_module(found["module"]).LAB
        flags = ["--port", *(option.flag for option in lab.options if option.is_port)]
        chosen = zip(flags, ports.values(), strict=False)  # a lab may have no upstream
        return " ".join([found[0], *(f"{flag} {port}" for flag, port in chosen)])

    named = NAMED_PORT.sub(lambda at: str(ports.get(int(at[0]), at[0])), command)
    return LAB_COMMAND.sub(add, named)


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
    block: Block, command: str, folder: Path, environment: dict[str, str], timeout_s: float
) -> Iterator[str]:
    """Run a block's `while` command until the end; yield its pid once it has shown its `at`.

    A report that is late shows so in its time, so that the line is compared as figures are.
    """
    process = subprocess.Popen(
        shlex.split(command),
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
        impatience.join()
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
