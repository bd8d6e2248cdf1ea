"""What long work shows while it lasts: lines, with bars below them on a terminal."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from .cli import Options
from .console import end_lines, event_lines, is_stand_in, readings
from .model import Ended, Event, Lab, Sampled, Started, Variant
from .terminal import GREEN, YELLOW, Terminal, carried, write

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

Step = Callable[[Iterable[str]], None]
"""Writes the lines of a piece of work that is done, and counts it."""


class Show(Protocol):
    """Shows one line that a run wrote, and the events that it stands for."""

    def __call__(self, variant: Variant, text: str, events: Sequence[Event]) -> None:
        """Show `text`, or `events`, of `variant`."""


@contextmanager
def show_for(lab: Lab, options: Options) -> Iterator[Show]:
    """Return what fits the output: JSON as it comes, bars on a terminal, plain lines elsewhere.

    Where the table is for a program to read, the lines go to stderr.
    """
    terminal = Terminal(sys.stderr if options.style in ("html", "json") else sys.stdout)
    if options.as_json:
        yield PassedOn()
    elif terminal.is_terminal:
        with _bars() as progress:
            yield Bars(lab, options, progress)
    else:
        yield Plain(lab, terminal)


class PassedOn:
    """The JSON lines of both runs, as they come."""

    def __call__(self, variant: Variant, text: str, events: Sequence[Event]) -> None:
        """Write `text` as it is; each line names its variant."""
        write(sys.stdout, text)


class Plain:
    """Each run's lines with its name before them."""

    def __init__(self, lab: Lab, terminal: Terminal) -> None:
        self._lab = lab
        self._terminal = terminal

    def __call__(self, variant: Variant, text: str, events: Sequence[Event]) -> None:
        """Write the lines of `events`."""
        for line, colour in _lines(self._lab, events):
            self._terminal.line(f"{variant}  {line}", colour)


def _lines(lab: Lab, events: Sequence[Event]) -> Iterator[tuple[str, str | None]]:
    for event in events:
        lines = _end_lines(lab, event) if isinstance(event, Ended) else event_lines(lab, event)
        yield from ((line, colour) for line, colour in lines if line)


def _end_lines(lab: Lab, event: Ended) -> Iterator[tuple[str, str | None]]:
    """Leave the views to the table, but for those where another source had to stand in."""
    views = tuple(view for view in event.run.views if is_stand_in(view))
    ended = replace(event, run=replace(event.run, views=views))
    return ((line, None) for line in end_lines(lab, ended))


class Bars:
    """The same lines above one bar per run, which shows its time and its latest figure."""

    def __init__(self, lab: Lab, options: Options, progress: "Progress") -> None:
        self._lab = lab
        self._progress = progress
        self._total_s = None if math.isinf(options.duration_s) else options.duration_s
        self._bars: dict[Variant, TaskID] = {}

    def __call__(self, variant: Variant, text: str, events: Sequence[Event]) -> None:
        """Write the lines of `events` above the bars, and move the bar of `variant`."""
        for line, colour in _lines(self._lab, events):
            _print(self._progress, f"{variant}  {line}", colour)
        for event in events:
            if isinstance(event, Started):
                self._bars[variant] = self._progress.add_task(
                    variant, total=self._total_s, reading=""
                )
            if isinstance(event, Sampled):
                self._move(variant, event)

    def _move(self, variant: Variant, event: Sampled) -> None:
        self._progress.update(
            self._bars[variant],
            completed=event.sample.elapsed_s,
            reading=readings(event.sample, [self._lab.watch]),
        )


def _print(progress: "Progress", text: str, colour: str | None = None) -> None:
    """Write a line above the bars."""
    console = progress.console
    style = {GREEN: "green", YELLOW: "yellow"}.get(colour or "")
    console.print(
        carried(text, console.encoding),
        style=style,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=True,
    )


@contextmanager
def _bars() -> Iterator["Progress"]:
    from rich.progress import TextColumn

    with _progress(TextColumn("{task.completed:.0f} s")) as progress:
        yield progress


@contextmanager
def _progress(time: "ProgressColumn") -> Iterator["Progress"]:
    """Show bars on stdout, each with its name, its time and its latest figure."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        time,
        TextColumn("{task.fields[reading]}", markup=False),
    )
    with Progress(*columns, transient=True) as progress:
        yield progress


def _write(terminal: Terminal, lines: Iterable[str]) -> None:
    for line in lines:
        terminal.line(line)


@contextmanager
def working(terminal: Terminal, what: str, total: int | None = None) -> Iterator[Step]:
    """Show on a terminal that `what` goes on, how long, and how many of `total` pieces are done.

    The bar is gone when the block ends. Elsewhere there are only the lines.
    """
    if not terminal.is_terminal:
        yield partial(_write, terminal)
        return
    from rich.progress import TimeElapsedColumn

    with _progress(TimeElapsedColumn()) as progress:
        task = progress.add_task(what, total=total, reading=f"0 of {total}" if total else "")

        def step(lines: Iterable[str]) -> None:
            for line in lines:
                _print(progress, line)
            done = round(progress.tasks[0].completed) + 1
            progress.update(task, completed=done, reading=f"{done} of {total}")

        yield step
