"""The commands of the course: `python -m labs`."""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import mine
from harness.cli import Parser
from harness.command import DONE, FOUND
from harness.errors import UsageError
from harness.progress import working
from harness.terminal import Terminal

from . import catalogue, progress
from .verdict import wrapped

HINTS = ("where to look", "who holds it", "the fix in words")
DESCRIPTION = "The course: mend a leaking program, lab by lab. Without a command: what to do next."
EPILOG = """examples:
  python -m labs start file_leak
      puts a leaking program into workbook/file_leak.py
  python -m labs check
      judges the copy that you changed last
  python -m labs.file_leak --mine
      runs your copy and shows its descriptors"""
Command = Callable[[argparse.Namespace, Terminal], int]


def main(arguments: Sequence[str]) -> int:
    """Do what `arguments` ask for and return the exit status.

    0: done, or the check passed; 1: it did not.

    Raises:
        UsageError: it cannot be done as asked.
    """
    given = parser().parse_args(arguments)
    return int(given.do(given, Terminal(sys.stdout)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the course's commands."""
    made = Parser(
        prog="python -m labs",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(do=next_step)
    commands = made.add_subparsers(metavar="COMMAND", parser_class=Parser)

    def add(do: Command, help_text: str, names: str = "") -> Parser:
        added: Parser = commands.add_parser(do.__name__.strip("_"), help=help_text)
        if names:
            added.add_argument("name", metavar="NAME", nargs=names if names != "1" else None)
        added.set_defaults(do=do)
        return added

    add(list_, "the labs and how far you are")
    add(start, "put a lab's leaking program into workbook/NAME.py", "1")
    add(check, "judge your copy by measurement (default: the one changed last)", "?")
    add(hint, "one more hint: where to look, who holds it, the fix in words", "?")
    given_up = add(diff, "the leaking program against its fix, once yours has passed", "1")
    given_up.add_argument("--give-up", action="store_true", help="show it before that")
    add(reset, "begin anew; your copy is kept as workbook/NAME.old.py", "1")
    add(watch, "check your copy each time that you save it", "?")
    add(verify, "for maintainers: hold every lab to its contract", "*")
    return made


def load_progress(terminal: Terminal) -> progress.Progress:
    """Return the progress; say so where its file was damaged."""
    known, notice = progress.load()
    if notice:
        _say(terminal, notice)
    return known


def next_step(_given: argparse.Namespace, terminal: Terminal) -> int:
    """Say what to do next."""
    known, names = load_progress(terminal), catalogue.names()
    passed = [name for name in names if name in known.passed]
    terminal.line(f"The course: {len(passed)} of {len(names)} labs passed.")
    current = current_lab(known)
    left = [name for name in names if name not in known.passed]
    if current:
        _say(terminal, f"You are at {current}. Mend {mine.path_of(current)}, then:")
        terminal.line(f"    python -m labs check {current}")
        terminal.line(f"    python -m labs hint {current}      if you are stuck")
    elif left:
        terminal.line("Next:")
        terminal.line(f"    python -m labs start {left[0]}")
    else:
        _say(terminal, "All done. Point the instrument at a program of your own:")
        terminal.line("    python -m harness run script.py")
    terminal.line("All commands: python -m labs --help")
    return DONE


def current_lab(known: progress.Progress) -> str | None:
    """Return the lab that was begun and not passed, the one changed last if there are several."""
    begun = [name for name in catalogue.names() if mine.path_of(name).is_file()]
    unpassed = [name for name in begun if name not in known.passed]
    return max(unpassed, key=lambda name: mine.path_of(name).stat().st_mtime_ns, default=None)


def _named(given: argparse.Namespace, known: progress.Progress) -> str:
    """Return the lab that a command is about: the one it names, or the current one."""
    if given.name:
        return catalogue.checked(given.name)
    current = current_lab(known)
    if current is None:
        more = "; a lab that has passed needs its name" if known.passed else ""
        raise UsageError(f"no lab is under way; python -m labs start NAME begins one{more}")
    return current


def list_(_given: argparse.Namespace, terminal: Terminal) -> int:
    """Show each lab in a line; one that cannot be loaded with the reason."""
    known = load_progress(terminal)
    for number, name in enumerate(catalogue.names(), 1):
        try:
            said = catalogue.load(name).title
        except UsageError as error:
            said = str(error).removeprefix(f"{name}: ")
        state = _state(name, known)
        first = f"{number:>2}  {state:<20}  {name:<17}  "
        for line in wrapped(said, " " * len(first), first):
            terminal.line(line)
    return DONE


def _state(name: str, known: progress.Progress) -> str:
    hints = known.hints.get(name, 0)
    seen = f", {hints} hint{'s' if hints > 1 else ''}" if hints else ""
    if name in known.passed:
        return f"✓ passed{seen}"
    return f"… started{seen}" if mine.path_of(name).is_file() else f"· to do{seen}"


def start(given: argparse.Namespace, terminal: Terminal) -> int:
    """Copy the leaky twin into the workbook, unless there is a copy, and say what to do."""
    name = catalogue.checked(given.name)
    path = mine.path_of(name)
    if path.exists():
        raise UsageError(
            f"{path}: you have begun this lab; go on there, or begin anew with: "
            f"python -m labs reset {name}"
        )
    _begin(name, path, terminal)
    return DONE


def _begin(name: str, path: Path, terminal: Terminal) -> None:
    from .drive import exercise

    lab = catalogue.load(name)
    task = exercise(lab).task
    progress.write(path, Path(str(lab.leaky.__file__)).read_text(encoding="utf-8"))
    _say(terminal, f"{lab.title}. {task}")
    terminal.line()
    for command, what in (
        (str(path), "your copy: find the leak, mend it"),
        (f"python -m labs.{name} --mine", "see it leak"),
        (f"python -m labs check {name}", "judge it"),
        (f"python -m labs hint {name}", "if you are stuck"),
    ):
        terminal.line(f"    {command:<39}  {what}")
    number = catalogue.chapters().get(name)
    if number:
        terminal.line(f"Its chapter is in GUIDE.md: Lab {number}: {name}")


def check(given: argparse.Namespace, terminal: Terminal) -> int:
    """Judge the learner's copy; 0 if it passes, else 1."""
    known = load_progress(terminal)
    return check_once(_named(given, known), known, terminal)


def check_once(name: str, known: progress.Progress, terminal: Terminal) -> int:
    """Judge the copy for lab `name`, show the verdict, note a pass."""
    from .judge import judge
    from .verdict import lines_of

    path = mine.path_of(name)
    if not path.is_file():
        catalogue.load(name)  # a library that it needs comes first
        raise UsageError(f"{path}: no such file; make it with: python -m labs start {name}")
    with working(terminal, f"Judging {path}"):
        judgement = judge(name, [path])[0]
    for line in lines_of(name, path, judgement):
        terminal.line(line)
    if not judgement.passed:
        return FOUND
    known = known.with_pass(name)
    progress.save(known)
    left = [each for each in catalogue.names() if each not in known.passed]
    if left:
        terminal.line(f"Then: python -m labs start {left[0]}")
    else:
        terminal.line("That was the last lab. What comes now: python -m labs")
    return DONE


def hint(given: argparse.Namespace, terminal: Terminal) -> int:
    """Show the hints so far and one more."""
    known = load_progress(terminal)
    name = _named(given, known)
    hints = catalogue.load(name).hints
    shown = min(known.hints.get(name, 0) + 1, len(hints))
    for number, (about, text) in enumerate(zip(HINTS[:shown], hints, strict=False), 1):
        _say(terminal, f"Hint {number} of {len(hints)}, {about}: {text}")
    if shown == len(hints):
        terminal.line(f"No more hints. The fix itself: python -m labs diff {name} --give-up")
    progress.save(known.with_hint(name, shown))
    return DONE


def diff(given: argparse.Namespace, terminal: Terminal) -> int:
    """Show the leaky twin against the fixed one, to a learner who has passed or gives up."""
    name = catalogue.checked(given.name)
    if name not in load_progress(terminal).passed and not given.give_up:
        raise UsageError(
            f"{name} has not passed its check; mend it first, or add --give-up to see the fix"
        )
    sources = [catalogue.ROOT / room / f"{name}.py" for room in ("leaky", "fixed")]
    before, after = (source.read_text(encoding="utf-8").splitlines() for source in sources)
    old, new = (str(source.relative_to(catalogue.ROOT)) for source in sources)
    for line in difflib.unified_diff(before, after, old, new, lineterm=""):
        terminal.line(line)
    return DONE


def reset(given: argparse.Namespace, terminal: Terminal) -> int:
    """Put a new copy of the leaky twin into the workbook, and keep the old one beside it."""
    name = catalogue.checked(given.name)
    path = mine.path_of(name)
    known = load_progress(terminal)
    if path.exists():
        old = progress.unused(f"{name}.old", ".py")
        path.replace(old)
        terminal.line(f"Your copy is now {old}.")
    progress.save(known.without(name))
    _begin(name, path, terminal)
    return DONE


def watch(given: argparse.Namespace, terminal: Terminal) -> int:
    """Check the copy now and each time that it is saved, until Ctrl-C."""
    from .watch import watch_copy

    name = _named(given, load_progress(terminal))
    return watch_copy(name, terminal)


def verify(given: argparse.Namespace, terminal: Terminal) -> int:
    """Hold labs to their contract; 0 if all keep it, else 1."""
    from .verify import verify as verify_labs

    return verify_labs(given.name or catalogue.names(), terminal)


def _say(terminal: Terminal, text: str) -> None:
    for line in wrapped(text):
        terminal.line(line)
