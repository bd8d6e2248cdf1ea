"""Both variants at the same time, in child processes, and the table of what was measured."""

import json
import math
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence

from .children import end_session
from .cli import COMMON, EXHAUSTED, Options
from .command import DONE, USAGE
from .errors import UsageError
from .jsonlines import Reader
from .model import Event, Lab, Run, Variant
from .progress import Show, show_for
from .stops import Stopped
from .table import as_objects, cells, render
from .terminal import Terminal, write
from .workdir import sweep

GRACE_S = 3.0
"""How long a child that was told to stop may take to clean up."""
PAIR = (Variant.LEAKY, Variant.FIXED)
TICK_S = 0.2

Lines = queue.Queue[tuple[Variant, str | None]]


class Child:
    """One variant in a process of its own: its lines come as JSON, its stdin is its lifeline.

    It leads a session of its own, so that Ctrl-C reaches only the parent, which then asks it to
    stop. When the parent is killed the lifeline closes and the child ends by itself.
    """

    def __init__(self, command: list[str], variant: Variant, lab: Lab, lines: Lines) -> None:
        self.variant = variant
        self.reader = Reader(lab)
        self._over = False
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._complaints: list[str] = []
        self._threads = [
            threading.Thread(target=self._feed, args=(lines,), daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _feed(self, lines: Lines) -> None:
        """Put each line of the child into `lines`; `None` when it is over."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            lines.put((self.variant, line))
        self._over = True
        lines.put((self.variant, None))

    def _listen(self) -> None:
        """Keep what the child writes to stderr: over a terminal's bars it would be lost."""
        assert self._process.stderr is not None
        self._complaints.extend(self._process.stderr)

    @property
    def complaint(self) -> str:
        """What the child has written to stderr, whole once it is finished."""
        return "".join(self._complaints)

    def events(self, line: str) -> Sequence[Event]:
        """Return what a line of the child stands for.

        What else it prints goes to stderr, and so does what a killed one left half written.
        """
        try:
            return self.reader.events(line)
        except ValueError:
            sys.stderr.write(f"{self.variant}  {line.rstrip()}\n")
            return []

    def stop(self) -> None:
        """Ask the child to stop, unless it is over; it then writes its result so far."""
        if not self._over:
            self._process.send_signal(signal.SIGTERM)

    def finish(self) -> int:
        """Wait until the child has ended, by force if need be; return its exit status.

        What it left is ended and removed.
        """
        with self._process:
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._process.wait()
            end_session(self._process.pid)  # it was killed, maybe, and what it ran holds its output
            for thread in self._threads:
                thread.join()
        sweep(self._process.pid)
        return self._process.returncode


def command(lab: Lab, program: str, options: Options, variant: Variant) -> list[str]:
    """Return the command line of the child that runs `variant`."""
    numbers = [
        f"{option.flag}={value:.10g}"
        for option in (*COMMON, *lab.options)
        if (value := options.value(option, variant)) is not None
    ]
    length = (
        ["--forever"] if math.isinf(options.duration_s) else [f"--duration={options.duration_s}"]
    )
    switches = [] if options.serve else ["--no-server"]
    switches += ["--allow-remote"] if options.allow_remote else []
    return [
        sys.executable,
        "-m",
        program,
        f"--{variant}",
        "--json",
        "--lifeline",
        f"--rate={options.rate_hz}",
        f"--report-every={options.report_every_s}",
        f"--host={options.host}",
        *length,
        *switches,
        *numbers,
    ]


def compare(lab: Lab, program: str, options: Options) -> int:
    """Run both variants of `lab`, show their lines and the comparison; return the exit status."""
    if options.hold:
        raise UsageError("--hold: goes with --leaky or --fixed, not with both at once")
    commands = {variant: command(lab, program, options, variant) for variant in PAIR}
    lines: Lines = queue.Queue()
    children: dict[Variant, Child] = {}
    stopped: Stopped | None = None
    try:
        for variant in PAIR:
            children[variant] = _started(commands[variant], variant, lab, lines)
        with show_for(lab, options) as show:
            _follow(children, lines, show)
    except Stopped as error:
        stopped = error
    finally:
        statuses = _finish(children, lines)
        _tell([child.complaint for child in children.values()])
    if len(children) == len(PAIR):
        _conclude(lab, options, children)
    return 128 + stopped.number if stopped else _status(statuses)


def _started(command: list[str], variant: Variant, lab: Lab, lines: Lines) -> Child:
    try:
        return Child(command, variant, lab, lines)
    except OSError as error:  # no more processes, no descriptor for the pipes, no right to Python
        raise UsageError(
            f"cannot start the {variant} run ({command[0]}): {error.strerror}; "
            f"run it alone with --{variant}"
        ) from None


def _follow(children: Mapping[Variant, Child], lines: Lines, show: Show) -> None:
    """Show what the children write until both are over, or one could not start."""
    running = set(children)
    while running:
        try:
            variant, line = lines.get(timeout=TICK_S)
        except queue.Empty:
            continue
        if line is None:
            running.discard(variant)
            if children[variant].reader.run is None:
                return
        elif events := children[variant].events(line):
            show(variant, line, events)


def _finish(children: Mapping[Variant, Child], lines: Lines) -> list[int]:
    """Stop what still runs, read what it still writes, and return the exit statuses."""
    for child in children.values():
        child.stop()
    statuses = [child.finish() for child in children.values()]
    while not lines.empty():
        variant, line = lines.get_nowait()
        if line is not None:
            children[variant].events(line)
    return statuses


def _tell(complaints: Iterable[str]) -> None:
    """Write what the children wrote to stderr; what both say, once."""
    if sys.stderr is not None:
        sys.stderr.write("".join(dict.fromkeys(complaints)))


def _status(statuses: list[int]) -> int:
    """Return the comparison's exit status: the gravest of its runs'; killed counts as exhausted."""
    return USAGE if USAGE in statuses else EXHAUSTED if any(statuses) else DONE


def _conclude(lab: Lab, options: Options, children: Mapping[Variant, Child]) -> None:
    """Print the comparison, and draw it if that is asked for, if both runs have begun."""
    leaky, fixed = (children[variant].reader.run for variant in PAIR)
    if leaky is None or fixed is None:
        return
    _print(lab, options, leaky, fixed)
    if options.plot is not None:
        from .plot import draw

        draw(lab, (leaky, fixed), options.plot)


def _print(lab: Lab, options: Options, leaky: Run, fixed: Run) -> None:
    if options.as_json:
        rows = as_objects(cells(lab.rows, leaky, fixed))
        document = {"event": "comparison", "lab": lab.name, "rows": rows}
        write(sys.stdout, json.dumps(document) + "\n")
        return
    terminal = Terminal(sys.stdout)
    if options.style not in ("json", "html"):
        terminal.line()
    encoding = sys.stdout.encoding
    terminal.line(render(lab.rows, leaky, fixed, options.style, encoding))
