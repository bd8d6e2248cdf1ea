"""The command `python -m harness monitor MODULE`: both runs of a lab under Prometheus."""

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlencode

from harness import cli, command
from harness.console import seconds
from harness.errors import UsageError
from harness.model import Lab, Run, Variant
from harness.terminal import GREEN, YELLOW, Terminal
from harness.workdir import workdir

from . import configuration, prometheus
from .prometheus import Alerts
from .runs import Runs, begun, free_port, options_of

PROGRAM = "python -m harness monitor"
SPEED = 30.0
LOOK_EVERY_S = 0.25
REPORT_S = 1.0
"""The longest time between two reports: the live page is watched, too."""
COLOURS = {"pending": None, "firing": YELLOW, "resolved": GREEN}
DESCRIPTION = """\
Run both variants of a lab under Prometheus, on free ports, until Ctrl-C: it asks each for its
/metrics and evaluates the alert rules. What to click is printed, and each alert that changes.
Nothing is left behind."""
EPILOG = f"""\
MODULE is the module that runs a lab alone: labs.NAME, where `python -m labs list` shows the names.
What follows it are that lab's own options.

The configuration and the rules, to take along, are in
{configuration.FOLDER}

exit status:
  1    --until-firing: an alert fires
  2    it could not be run as asked: no Prometheus, no such lab, a wrong option
  130  Ctrl-C; 143 SIGTERM, 129 SIGHUP

examples:
  python -m harness monitor labs.NAME
      `for: 5m` takes ten seconds
  python -m harness monitor --speed 1 labs.NAME
      as in production
  python -m harness monitor labs.NAME --ulimit 1024
      until the leaky run has no descriptor left
"""


def parser() -> cli.Parser:
    """Return the parser of the command's options."""
    made = cli.Parser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "--speed",
        type=cli.between(1, 1000),
        default=SPEED,
        metavar="N",
        help=f"divide the times of scrapes and alerts by N (default {SPEED:g})",
    )
    made.add_argument(
        "--until-firing", action="store_true", help="end at the first alert that fires, status 1"
    )
    made.add_argument("module", nargs="?", metavar="MODULE", help="the lab to run")
    made.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="the lab's options")
    return made


def main(argv: Sequence[str]) -> int:
    """Monitor the lab that `argv` names until a signal ends it; return the exit status."""
    return command.run(PROGRAM, lambda: _main(argv))


def _main(argv: Sequence[str]) -> int:
    given = parser().parse_args(argv)
    program, lab = prometheus.find(), lab_in(given.module)
    options = options_of(lab, given.module, given.options, report_every_s(given.speed))
    terminal = Terminal(sys.stdout)
    with workdir() as folder, begun(lab, given.module, options) as runs:
        config = configuration.write(folder, runs.ports(), given.speed)
        with prometheus.running(program, config, free_port()) as url:
            for line in what_to_click(lab, url, runs.ports(), given.speed):
                terminal.line(line)
            follow(runs, url, terminal, given.until_firing)
    return command.FOUND


def report_every_s(speed: float) -> float:
    """Return how often the runs report: what is scraped is their last report."""
    return min(REPORT_S, configuration.scrape_s(speed))


def lab_in(module: str | None) -> Lab:
    """Return the lab that a module runs. Raises UsageError where it has none, or none is given."""
    hint = "give the module of a lab, labs.NAME; `python -m labs list` shows the names"
    if module is None:
        raise UsageError(f"MODULE is missing: {hint}")
    try:
        lab = getattr(importlib.import_module(module), "LAB", None)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{module}: cannot be imported ({error}); {hint}") from None
    if not isinstance(lab, Lab):
        raise UsageError(f"{module}: there is no LAB in it; {hint}")
    return lab


def what_to_click(lab: Lab, url: str, ports: Mapping[Variant, int], speed: float) -> Iterator[str]:
    """Yield the addresses of what there is to see."""
    graph = urlencode({"g0.expr": lab.watch.name, "g0.tab": 0, "g0.range_input": "5m"})
    yield "Prometheus scrapes both runs; Ctrl-C ends everything. Open in a browser:"
    yield f"    {url}/graph?{graph}"
    yield f"    {prometheus.page(url, '/alerts')}"
    yield f"    http://localhost:{next(iter(ports.values()))}/  (the live page)"
    for variant, port in ports.items():
        yield f"    http://localhost:{port}/metrics  ({variant})"
    if speed != 1:
        yield f"The times in the alert rules are divided by {speed:g}."


def follow(runs: Runs, url: str, terminal: Terminal, until_firing: bool) -> None:
    """Write a line for each alert that changes and each run that ends.

    For ever, or with `until_firing` until one fires. Raises UsageError when Prometheus is gone.
    """
    told, before = 0, prometheus.NO_ALERTS
    while True:
        runs.read(LOOK_EVERY_S)
        for over in runs.ended[told:]:
            terminal.line(_end_of(runs.so_far(over)))
        told, now = len(runs.ended), prometheus.alerts(url)
        for of, name, state in changes(before, now):
            line = f"{_now(runs.so_far(Variant(of)))} {name} {state}"
            terminal.line(line, COLOURS.get(state))
        if until_firing and "firing" in now.values():
            return
        before = now


def changes(before: Alerts, now: Alerts) -> Iterator[tuple[str, str, str]]:
    """Yield variant, name and state of each alert that is in another state than before."""
    for alert in {**now, **before}:
        state = now.get(alert, "resolved")
        if state != before.get(alert):
            yield (*alert, state)


def _end_of(run: Run) -> str:
    """Return in a sentence how a run came to its end."""
    why = f": {run.exhaustion.message}" if run.exhaustion else ""
    return f"{_now(run)} has ended{why}"


def _now(run: Run) -> str:
    return f"{run.variant}  [AFTER {seconds(run.samples[-1].elapsed_s)}]"
