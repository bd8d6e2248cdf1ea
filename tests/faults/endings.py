"""Runs of the labs that are ended, starved or misled; nothing may be left, nobody sees a traceback.

What each may end with is what README.md says of exit statuses.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import psutil

from labs.course import catalogue
from tests.running import ROOT, Finished, Place, Started

from .cases import Order, Outcome, outcomes, place, table
from .surroundings import hidden_proc, nobody, shims, small_disk
from .tables import Table

COUNT, SHORT = 300, 26
DURATION_S = 1.2
PATIENCE_S = 240.0
COMPLAINT = re.compile(r"Traceback|Exception ignored|never awaited|Fatal Python|Warning: |Error in")
REFUSAL = re.compile(r"[\w. -]+: error: .+")
SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
TOOLS = "lsof", "ss", "netstat", "ls"
DONE, EXHAUSTED, USAGE, CLOSED = 0, 1, 2, 141


@dataclass
class Scene:
    """One run that is about to be: where, which lab, with which arguments."""

    here: Place
    choice: Random
    module: str
    arguments: list[str]
    prefix: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_pair(self) -> bool:
        """Tell whether both variants run, in children."""
        return not {"--leaky", "--fixed"} & {*self.arguments}

    def command(self) -> list[str]:
        """Return the whole command line."""
        return [*self.prefix, *self.here.command(*self.arguments, module=self.module)]

    def start(self) -> Started:
        """Start the run, both its outputs read as they come."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        self.here.started.append(Started(self.popen(**streams)))
        return self.here.started[-1]

    def popen(self, **streams: object) -> subprocess.Popen[str]:
        """Start the run with other outputs."""
        environment = self.here.environment(**self.environment)
        return subprocess.Popen(
            self.command(), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, **streams
        )

    def wait(self, run: Started | None = None, at_most_s: float = DURATION_S + 0.8) -> float:
        """Wait until a random moment, of half of the runs after their first line; return it."""
        if run is not None and self.choice.random() < 0.5:
            run.see(".", PATIENCE_S)
        moment_s = self.choice.uniform(0, at_most_s)
        time.sleep(moment_s)
        return moment_s


@dataclass(frozen=True)
class Ending:
    """How a run ended, what it may end with, and whether its folder may stay."""

    run: Finished
    allowed: Collection[int]
    when: str = ""
    keeps_folder: bool = False


def stopped(scene: Scene) -> Ending:
    """Send one of the signals that end a run; one before Python is ready ends it unheard."""
    number = scene.choice.choice(SIGNALS)
    run = scene.start()
    moment_s = scene.wait(run)
    run.process.send_signal(number)
    when = f"{number.name} after {moment_s:.2f} s"
    return Ending(run.end(PATIENCE_S), (128 + number, -number, DONE), when)


def stopped_twice(scene: Scene) -> Ending:
    """Send two signals, the second while the first is taken."""
    run = scene.start()
    moment_s = scene.wait(run)
    first, second = scene.choice.choices(SIGNALS, k=2)
    run.process.send_signal(first)
    time.sleep(scene.choice.uniform(0, 0.2))
    run.process.send_signal(second)
    allowed = {DONE, *(128 + each for each in (first, second)), *(-first, -second)}
    when = f"{first.name} after {moment_s:.2f} s, then {second.name}"
    return Ending(run.end(PATIENCE_S), allowed, when)


def killed(scene: Scene) -> Ending:
    """Kill it outright: only the folder of a single run may stay."""
    run = scene.start()
    moment_s = scene.wait(run)
    run.process.kill()
    ended = run.end(PATIENCE_S)
    return Ending(ended, (-9, DONE), f"after {moment_s:.2f} s", keeps_folder=not scene.is_pair)


def child_ended(scene: Scene) -> Ending:
    """Send a signal to one child of a comparison: that run is over before its time."""
    scene.arguments = [each for each in scene.arguments if each not in ("--leaky", "--fixed")]
    number = scene.choice.choice([*SIGNALS, signal.SIGKILL])
    run = scene.start()
    scene.wait(run)
    children = psutil.Process(run.pid).children() if run.process.poll() is None else []
    if children:
        with suppress(psutil.NoSuchProcess):  # it has just come to its own end
            scene.choice.choice(children).send_signal(number)
    return Ending(run.end(PATIENCE_S), (DONE, EXHAUSTED), f"{number.name}")


def reader_gone(scene: Scene) -> Ending:
    """Close the reading end of its output at a random moment."""
    return _into(scene, subprocess.PIPE, (CLOSED, DONE))


def closed_from_the_start(scene: Scene) -> Ending:
    """Start it without a standard output."""
    scene.prefix = ["bash", "-c", 'exec "$@" >&-', "bash"]
    return Ending(scene.start().end(PATIENCE_S), (USAGE,))


def output_full(scene: Scene) -> Ending:
    """Let it write to a device that has no room."""
    with Path("/dev/full").open("w") as full:
        return _into(scene, full.fileno(), (USAGE,))


def _into(scene: Scene, output: int, allowed: Collection[int]) -> Ending:
    errors = scene.here.tmp.parent / "stderr"
    began_s = time.monotonic()
    with errors.open("w") as stderr:
        process = scene.popen(stdout=output, stderr=stderr)
        scene.here.started.append(Started.__new__(Started))
        scene.here.started[-1].process = process
        moment_s = scene.wait() if process.stdout else 0.0
        if process.stdout:
            process.stdout.close()
        status = process.wait(PATIENCE_S)
    took_s = time.monotonic() - began_s
    ended = Finished(status, "", errors.read_text("utf-8"), process.pid, took_s)
    return Ending(ended, allowed, f"after {moment_s:.2f} s")


def few_descriptors(scene: Scene) -> Ending:
    """Allow it between 10 and 300 descriptors, by its own option or from outside."""
    limit, is_own = scene.choice.randint(10, 300), scene.choice.random() < 0.5
    if is_own:
        scene.arguments.append(f"--ulimit={limit}")
    else:
        scene.prefix = ["bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash"]
    ended = scene.start().end(PATIENCE_S)
    return Ending(
        ended, (DONE, EXHAUSTED, USAGE), f"{'--ulimit' if is_own else 'ulimit -n'} {limit}"
    )


def full_disk(scene: Scene) -> Ending:
    """Give it a temporary folder with room for little."""
    size_kb = scene.choice.choice([0, 4, 16, 64, 256, 1024])
    with small_disk(scene.here.tmp, size_kb) as prefix:
        scene.prefix = prefix
        ended = scene.start().end(PATIENCE_S)
        return _checked_there(scene, Ending(ended, (DONE, EXHAUSTED, USAGE), f"{size_kb} kB"))


def _checked_there(scene: Scene, ending: Ending) -> Ending:
    """Look for what is left while the small disk is there to look at."""
    if left := scene.here.leftovers():
        raise AssertionError(f"left on the small disk: {', '.join(left)}")
    return ending


def without_proc(scene: Scene) -> Ending:
    """Hide /proc from it."""
    scene.prefix = hidden_proc()
    return Ending(scene.start().end(PATIENCE_S), (DONE,))


def without_rights(scene: Scene) -> Ending:
    """Run it as a user to whom nothing belongs but the temporary folder."""
    scene.prefix = nobody(scene.here.tmp)
    return Ending(scene.start().end(PATIENCE_S), (DONE,))


def tools_missing(scene: Scene) -> Ending:
    """Let PATH lead to no tool at all."""
    scene.environment["PATH"] = str(shims(scene.here.tmp.parent, {}))
    return Ending(scene.start().end(PATIENCE_S), (DONE,))


def tools_babble(scene: Scene) -> Ending:
    """Let the tools print rubbish, or fail."""
    scripts = {tool: scene.choice.choice(list(RUBBISH)) for tool in TOOLS}
    folder = shims(scene.here.tmp.parent, {tool: RUBBISH[how] for tool, how in scripts.items()})
    scene.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
    return Ending(scene.start().end(PATIENCE_S), (DONE,), str(scripts))


RUBBISH = {
    "binary": "head -c 5000 /dev/urandom",
    "empty lines": "printf '\\n\\n \\n'",
    "a header only": "echo COMMAND PID USER",
    "cut short": "printf 'COMMAND\\nx\\nESTAB\\ntcp 0 0 1'",
    "an error": "echo cannot >&2; exit 3",
    "a signal": "kill -9 $$",
}


def tools_hang(scene: Scene) -> Ending:
    """Let a tool hang, with a child of its own as lsof has one; often a signal comes meanwhile."""
    tool = scene.choice.choice(TOOLS)
    folder = shims(scene.here.tmp.parent, {tool: "sleep 300; true"})
    scene.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
    run = scene.start()
    if scene.choice.random() < 0.5:
        return Ending(run.end(PATIENCE_S), (DONE,), tool)
    moment_s = scene.wait(run, DURATION_S + 4)
    number = scene.choice.choice(SIGNALS)
    run.process.send_signal(number)
    allowed = 128 + number, -number, DONE
    return Ending(run.end(PATIENCE_S), allowed, f"{tool}, {number.name} after {moment_s:.2f} s")


def upstream_crashes(scene: Scene) -> Ending:
    """Take the upstream away while its clients ask it."""
    scene.module = scene.choice.choice(["labs.http_leak", "labs.aiohttp_leak"])
    variant = scene.choice.choice(["--leaky", "--fixed"])
    others = [each for each in scene.arguments if not each.startswith(("--leaky", "--fixed"))]
    moment_s = scene.choice.uniform(0.05, DURATION_S)
    scene.arguments = [str(moment_s), scene.module, variant, *others, "--upstream-port=0"]
    scene.module = "tests.faults.crashing"
    return Ending(scene.start().end(PATIENCE_S), (DONE,), f"after {moment_s:.2f} s")


KINDS: dict[str, Callable[[Scene], Ending]] = {
    "a signal": stopped,
    "two signals": stopped_twice,
    "SIGKILL": killed,
    "a signal to a child": child_ended,
    "reader of the output gone": reader_gone,
    "output closed from the start": closed_from_the_start,
    "output to a full device": output_full,
    "10 to 300 descriptors": few_descriptors,
    "a full disk": full_disk,
    "no /proc": without_proc,
    "a user without rights": without_rights,
    "no lsof, ss, netstat, ls": tools_missing,
    "tools print rubbish": tools_babble,
    "a tool hangs": tools_hang,
    "the upstream crashes": upstream_crashes,
}


@cache
def has_upstream(name: str) -> bool:
    """Tell whether a lab takes the port of an upstream."""
    return any(option.flag == "--upstream-port" for option in catalogue.load(name).options)


def scene_of(here: Place, choice: Random) -> Scene:
    """Choose a lab and its arguments."""
    name = choice.choice(catalogue.names())
    arguments = [*choice.choice([["--leaky"], ["--fixed"], []]), *choice.choice(OUTPUTS)]
    arguments += [f"--duration={DURATION_S}", "--port=0"]
    arguments += [f"--rate={choice.choice([20, 100, 400])}"]
    arguments += [f"--report-every={choice.choice([0.1, 0.3, 0.5])}"]
    arguments += ["--upstream-port=0"] if has_upstream(name) else []
    return Scene(here, choice, f"labs.{name}", arguments)


OUTPUTS = (
    [],
    [],
    [],
    ["--json"],
    ["--json"],
    ["--format=html"],
    ["--no-server"],
    ["--tracemalloc=4"],
)


def wrong_with(scene: Scene, ending: Ending) -> list[str]:
    """Return a sentence for each rule that an ending breaks."""
    run, found = ending.run, []
    if run.status not in ending.allowed:
        found.append(f"ended with {run.status}, not {sorted(ending.allowed)}: {run.err[-300:]!r}")
    if COMPLAINT.search(run.out + run.err) and not _was_python_starting(run):
        found.append(f"complained: {(run.out + run.err)[-700:]!r}")
    if run.status == USAGE and not REFUSAL.fullmatch(run.err.splitlines()[-1] if run.err else ""):
        found.append(f"status 2 without its one line: {run.err[-300:]!r}")
    if run.status != -9 and "--json" in scene.arguments and not _is_json(run.lines):
        found.append(f"its last line is not whole: {run.lines[-1][-100:]!r}")
    left = [each for each in scene.here.leftovers(within_s=5) if not _may_stay(each, ending)]
    return [*found, *(f"left {each}" for each in left)]


def _was_python_starting(run: Finished) -> bool:
    """Tell a Ctrl-C that came before the first line of ours: what is shown then is Python's."""
    return run.status == -signal.SIGINT and not run.out and str(ROOT / "labs") not in run.err


def _may_stay(left: str, ending: Ending) -> bool:
    return ending.keeps_folder and f"/leak-lab-{ending.run.pid}-" in left


def _is_json(lines: Sequence[str]) -> bool:
    try:
        return all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def run(number: int, choice: Random) -> Outcome:
    """Run one case: the kinds in turn, everything else by chance."""
    kind = list(KINDS)[number % len(KINDS)]
    with place() as here:
        scene = scene_of(here, choice)
        try:
            ending = KINDS[kind](scene)
            wrong = wrong_with(scene, ending)
            status, when = str(ending.run.status), ending.when
        except subprocess.TimeoutExpired:
            wrong, status, when = [f"did not end within {PATIENCE_S:g} s"], "never", ""
        except AssertionError as error:
            wrong, status, when = [str(error)], "?", ""
    told = f"{scene.module} {' '.join(scene.arguments)}, {kind} {when}"
    return Outcome(kind, status, tuple(f"{told}: {each}" for each in wrong))


def tables(order: Order) -> list[Table]:
    """Run the cases and count how they ended."""
    note = (
        "Each run is of a random lab, variant and output, and is hit at a random moment. Exit "
        "statuses as README.md has them; a negative one is a signal's number, of a signal that "
        f"came before Python could take it, or of SIGKILL. {sys.platform}: {surroundings_used()}"
    )
    return [table("Ended, starved, misled", order, outcomes(order, run), note)]


def surroundings_used() -> str:
    """Say how the full disk, the missing /proc and the user without rights were made."""
    from .surroundings import described

    return described()
