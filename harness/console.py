"""The run as lines on a console, worded as in the guide."""

from collections.abc import Iterable, Iterator

from .model import (
    Ended,
    Event,
    Exhaustion,
    Failure,
    Gauge,
    Lab,
    Sample,
    Sampled,
    Started,
    Traced,
    View,
)
from .terminal import GREEN, YELLOW, Terminal


def number(value: float | None) -> str:
    """Return a figure as it is printed; what could not be measured is `n/a`."""
    return "n/a" if value is None else f"{value:g}" if value % 1 else f"{value:.0f}"


def seconds(elapsed_s: float, digits: int = 1) -> str:
    """Return a time as in `[AFTER 2s]`: rounded, without zeros that say nothing."""
    return f"{round(elapsed_s, digits):g}s"


def start_line(lab: Lab, sample: Sample) -> str:
    """Return the line with the baseline of the gauge that the lab watches."""
    return f"[START] {lab.watch.title}: {number(sample.values.get(lab.watch))}"


def report_line(lab: Lab, sample: Sample, digits: int = 1) -> str:
    """Return the line of a report; a counter that has not counted yet is left out."""
    shown = [lab.watch, *(gauge for gauge in lab.counters if sample.values.get(gauge) != 0)]
    return f"[AFTER {seconds(sample.elapsed_s, digits)}] {readings(sample, shown)}"


def readings(sample: Sample, gauges: list[Gauge]) -> str:
    """Return `label: value` of each gauge, as the guide separates them."""
    return "  |  ".join(f"{gauge.label}: {number(sample.values.get(gauge))}" for gauge in gauges)


def verdict_lines(lab: Lab, leaking: bool) -> list[str]:
    """Return the verdict as the guide words it."""
    return ["", f"⚠️  WARNING: {lab.warning}"] if leaking else [f"✓ No leak! {lab.all_clear}"]


def failure_line(failure: Failure) -> str:
    """Return the line for the first operation that failed in one way."""
    message = f": {failure.message}" if failure.message else ""
    return (
        f"[AFTER {failure.elapsed_s:.2f}s] operation {failure.operation} failed: "
        f"{failure.kind}{message}"
    )


def exhaustion_lines(lab: Lab, exhaustion: Exhaustion) -> Iterator[str]:
    """Yield what the operating system said, all figures then, and what was open where."""
    sample = exhaustion.sample
    yield ""
    yield f"{exhaustion.message}"
    yield report_line(lab, sample, digits=2)
    yield ""
    counted = sum(exhaustion.open_by_directory.values())
    yield f"Open at that moment: {counted}, and one held in reserve"
    most_first = sorted(exhaustion.open_by_directory.items(), key=lambda item: (-item[1], item[0]))
    for place, count in most_first:
        yield f"{count:>7}  {place}"


def view_lines(view: View) -> Iterator[str]:
    """Yield a view as one would see it in a shell; say so when another source answered."""
    if view.command:
        yield f"$ {view.command}"
    yield from view.lines
    if is_stand_in(view):
        yield f"  ({view.source})"


def is_stand_in(view: View) -> bool:
    """Tell whether another source than the command's own tool answered."""
    return not view.command.startswith(view.source)


def event_lines(lab: Lab, event: Event) -> Iterator[tuple[str, str | None]]:
    """Yield what `event` says while a run lasts, each line with its colour or None."""
    if isinstance(event, Started):
        yield from ((notice, None) for notice in event.notices)
        if event.run.server_port is not None:
            yield f"pprof server running on http://localhost:{event.run.server_port}", None
        yield start_line(lab, event.run.samples[0]), None
    elif isinstance(event, Sampled):
        yield report_line(lab, event.sample), None
        if event.verdict is not None and event.verdict.leaking is not None:
            colour = YELLOW if event.verdict.leaking else GREEN
            yield from ((line, colour) for line in verdict_lines(lab, event.verdict.leaking))
    elif isinstance(event, Failure):
        yield failure_line(event), YELLOW
    elif isinstance(event, Exhaustion):
        yield from ((line, None) for line in exhaustion_lines(lab, event))
    elif isinstance(event, Traced):
        yield from ((f"    {line}", None) for line in event.lines)


def undecided_lines(event: Ended) -> Iterator[str]:
    """Yield why a run that came to its end has no verdict: its table says `n/a`."""
    run, verdict = event.run, event.run.verdict
    if verdict and verdict.leaking is None and not event.interrupted and not run.exhaustion:
        yield f"No verdict: {verdict.evidence};"
        yield "    a leak grows in three reports or more"


def end_lines(lab: Lab, event: Ended) -> Iterator[str]:
    """Yield what is left to say when a run is over: failures, and the views from outside."""
    last = event.run.samples[-1]
    if event.interrupted:
        yield from ("", "Interrupted; measured so far:", report_line(lab, last))
    yield from undecided_lines(event)
    for failure in event.run.failures:
        operations = "operation" if failure.count == 1 else "operations"
        yield f"{failure.kind}: {failure.count} {operations} failed, first {failure.operation}"
    if event.run.views:
        yield from ("", f"After {seconds(last.elapsed_s)}, from outside:")
    for view in event.run.views:
        yield from view_lines(view)


class Console:
    """The sink for a person: one line per report, then the verdict and what to try."""

    def __init__(self, lab: Lab, terminal: Terminal, commands: list[str]) -> None:
        self._lab = lab
        self._terminal = terminal
        self._commands = commands
        self._is_over = False

    def __call__(self, event: Event) -> None:
        """Show `event`; after the verdict come the commands to try."""
        if isinstance(event, Ended):
            self._plain(end_lines(self._lab, event))
        for line, colour in event_lines(self._lab, event):
            self._terminal.prose(line, colour)
        self._is_over = self._is_over or isinstance(event, Exhaustion)
        stable = isinstance(event, Sampled) and event.verdict and event.verdict.leaking is False
        if (stable or isinstance(event, Traced)) and not self._is_over:
            self._plain(["", "Try in another terminal:", *self._commands, ""])

    def _plain(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._terminal.line(line)
