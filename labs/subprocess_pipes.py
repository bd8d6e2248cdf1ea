"""Lab 11: each check leaves a zombie and two pipes. `python -m labs.subprocess_pipes`."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from types import ModuleType

from fixed import subprocess_pipes as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.patience import Patience
from harness.probes import fds
from harness.probes.process import measured
from leaky import subprocess_pipes as leaky

from .kept import kept_bytes
from .words import are

CHECKS = Gauge("app_checks_total", "Checks", "Documents checked")
ZOMBIES = Gauge("app_zombies", "Zombies", "Zombies")
COMMAND = (
    "sh",
    "-c",
    'read -r line; echo "$line"; case $line in *bad*) echo "bad word" >&2; exit 1; esac',
)
PATIENCE_S = 1.0
"""So long may commands take that are held up by nothing but a busy machine."""
PIPE_IS_FULL = 100_000
"""Characters: more than a pipe takes while nobody reads it."""
FITS = 50_000
"""Characters that a pipe takes."""
FEW = 4
"""The memory of so many texts may be in use for something else."""


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Check a document per operation, every third of which is bad; at the end wait for all."""
    checker = subject.Checker(COMMAND)
    document = setting.directory / "document.txt"
    checked = 0

    def check(number: int) -> object:
        nonlocal checked
        document.write_text(f"{'good' if number % 3 else 'bad'} page {number}\n", encoding="utf-8")
        found = checker.check(document)
        checked += 1
        return found

    try:
        yield Workload(check, {CHECKS: lambda: checked, ZOMBIES: zombies})
    finally:
        with suppress(Exception):  # a copy may have broken it
            checker.rejected()


def zombies() -> int | None:
    """Count the children that have ended and that nobody has waited for."""
    import psutil

    return measured(lambda: _children()[psutil.STATUS_ZOMBIE])


def _children() -> Counter[str]:
    """Count the children by their status."""
    import psutil

    return Counter(child.status() for child in psutil.Process().children())


def _all_have_ended() -> bool:
    """Tell whether no child runs; one that has closed its pipes may take a moment to end."""
    import psutil

    return set(measured(_children) or ()) <= {psutil.STATUS_ZOMBIE}


def _document(directory: Path, text: str, name: str = "document.txt") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def output_and_errors_are_returned(subject: ModuleType, directory: Path) -> str | None:
    """What the command writes is returned, to its output and to its errors."""
    checker = subject.Checker(COMMAND)
    for text, wanted in (
        ("good ☃", ("good ☃\n", "")),
        ("bad", ("bad\n", "bad word\n")),
        ("", ("\n", "")),
    ):
        if (got := checker.check(_document(directory, text))) != wanted:
            return f"check of {text!r} gave {got}, not {wanted}; read both pipes"
    return None


def bad_documents_are_reported(subject: ModuleType, directory: Path) -> str | None:
    """The report names each document that was rejected, however often one asks."""
    checker = subject.Checker(COMMAND)
    for name, text in (("a", "bad"), ("b", "good"), ("c", "bad"), ("a", "bad")):
        checker.check(_document(directory, text, name))
    reports = checker.rejected(), checker.rejected()
    if reports == (["a", "c", "a"],) * 2:
        return None
    return (
        f"a, c and a again were bad, and the reports name {reports[0]} and {reports[1]}; keep the "
        "name of each that ends with a status other than 0"
    )


def the_status_decides(subject: ModuleType, directory: Path) -> str | None:
    """A command rejects by its exit status, whatever it writes."""
    for command, wanted in (("echo warning >&2", []), ("exit 3", ["document.txt"])):
        checker = subject.Checker(("sh", "-c", command))
        checker.check(_document(directory, "good"))
        if (got := checker.rejected()) != wanted:
            return (
                f"the command `{command}` made the report {got}, not {wanted}; a document is "
                "rejected by an exit status other than 0, not by what is written"
            )
    return None


def texts_are_not_kept(subject: ModuleType, directory: Path) -> str | None:
    """Of a check that is done its texts are kept by the caller alone, also if it rejects."""
    document, checks = _document(directory, "x" * FITS), 20
    checker = subject.Checker(("sh", "-c", "cat; exit 1"))

    def check() -> None:
        for _ in range(checks):
            checker.check(document)

    if (kept := kept_bytes(check) // FITS) <= FEW:
        return None
    return (
        f"after {checks} checks the texts of {kept} are still in memory; for the report keep "
        "names, not what the command wrote"
    )


def nothing_is_left_of_a_check(subject: ModuleType, directory: Path) -> str | None:
    """A check that is done leaves no zombie and no pipe, before anybody asks for the report."""
    document, before = _document(directory, "bad"), fds.count() or 0
    checker, zombies_before = subject.Checker(COMMAND), zombies() or 0
    for _ in range(3):
        checker.check(document)
    Patience(PATIENCE_S).until(_all_have_ended)
    dead, still = (zombies() or 0) - zombies_before, (fds.count() or 0) - before
    if dead > 0:
        return f"{are(dead, 'zombie')} left of 3 checks; ask each child for its status: wait for it"
    return f"{are(still, 'pipe')} open after 3 checks; close each" if still > 0 else None


def a_missing_command_is_an_error(subject: ModuleType, directory: Path) -> str | None:
    """A command that is not there raises FileNotFoundError."""
    checker = subject.Checker((str(directory / "no-such-command"),))
    try:
        got = checker.check(_document(directory, "good"))
    except FileNotFoundError:
        return None
    return f"a command that is not there gave {got!r}; let the caller see the error"


def long_texts_come_through(subject: ModuleType, directory: Path) -> str | None:
    """A command may write more than a pipe holds, to either of its pipes."""
    text = "☃" * PIPE_IS_FULL
    document = _document(directory, text)
    for pipe, command, wanted in (
        ("output", ("cat",), (text, "")),
        ("errors", ("sh", "-c", "cat >&2; exit 1"), ("", text)),
    ):
        try:
            got = _in_time(partial(subject.Checker(command).check, document))
        except TimeoutError:
            return (
                f"a command that writes {len(text)} characters to its {pipe} hangs, for that pipe "
                "is full and nobody reads it now; communicate() reads both at the same time"
            )
        if got != wanted:
            return f"of {len(text)} characters in its {pipe} not all came through; read to the end"
    return None


def _in_time(check: Callable[[], object]) -> object:
    """Return what `check` does; raise TimeoutError where it hangs, and leave it to its thread."""
    outcome: Future[object] = Future()

    def run() -> None:
        try:
            outcome.set_result(check())
        except Exception as error:  # noqa: BLE001 - whatever the copy raises is raised on
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    Patience(PATIENCE_S).until(outcome.done)
    return outcome.result(0)


LAB = Lab(
    name="subprocess_pipes",
    title="Processes that nobody waits for",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(CHECKS, ZOMBIES),
    judged=(OPEN_FDS, ZOMBIES),
    warning="Process leak detected!",
    all_clear="Processes waited for",
    rate_hz=10,
    descriptors_per_operation=2,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(ZOMBIES),
        table.gauge_row(CHECKS),
        table.MEMORY,
        table.RISK,
        table.limit_row(table.COMMON_LIMIT),
    ),
    commands=(
        "ps -axo ppid,stat,args | grep '^ *{pid} Z' | tail -3",
        "ls -l /proc/{pid}/fd | grep -c pipe:",
        "curl http://localhost:{port}/debug/pprof/",
    ),
    hints=(
        "Two things grow, descriptors and zombies, and `ps -axo ppid,stat,args` shows the second. "
        "What does a parent have to do with a child that has ended?",
        "Checker._checked holds each Popen until the report asks for its status, and a Popen "
        "holds the pipes to its child.",
        "Let communicate() read both pipes and wait, inside `with process:`, and keep the name "
        "of a document whose process ended with a status other than 0.",
    ),
    exercise=Exercise(
        task=(
            "The checker gives each document to a command, and once a day somebody reads which "
            "ones it rejected. By noon it fails with: Too many open files; and the machine's "
            "process table is full of <defunct>."
        ),
        behaviours=(
            output_and_errors_are_returned,
            bad_documents_are_reported,
            nothing_is_left_of_a_check,
            a_missing_command_is_an_error,
            long_texts_come_through,
            the_status_decides,
            texts_are_not_kept,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.subprocess_pipes"))
