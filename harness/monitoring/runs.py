"""Both variants of a lab as child processes, each with a debug server on a free port."""

import queue
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from harness import compare
from harness.cli import LOOPBACK, Options, parse
from harness.compare import PAIR, Child, Lines
from harness.errors import UsageError
from harness.model import Lab, Run, Variant


class Runs:
    """The runs as they report; `ended` are those that are over."""

    def __init__(self, children: Mapping[Variant, Child], lines: Lines) -> None:
        self.ended: list[Variant] = []
        self._children = children
        self._lines = lines

    def read(self, within_s: float) -> None:
        """Take in what they write, waiting for it for as long as `within_s`."""
        with suppress(queue.Empty):
            self._take(*self._lines.get(timeout=within_s))
            while True:
                self._take(*self._lines.get_nowait())

    def _take(self, variant: Variant, line: str | None) -> None:
        if line is None:
            self.ended.append(variant)
        else:
            self._children[variant].events(line)

    def so_far(self, variant: Variant) -> Run:
        """Return what is known of one.

        Raises:
            UsageError: it has ended before it began.
        """
        while (run := self._children[variant].reader.run) is None:
            if variant in self.ended:
                raise UsageError(f"the {variant} run did not begin; the line above says why")
            self.read(1)
        return run

    def ports(self) -> Mapping[Variant, int]:
        """Return the ports of their debug servers, as soon as both have begun."""
        runs = {variant: self.so_far(variant) for variant in self._children}
        return {variant: run.server_port or 0 for variant, run in runs.items()}


@contextmanager
def begun(lab: Lab, module: str, options: Options) -> Iterator[Runs]:
    """Run both variants of `lab` until the block ends."""
    commands = {variant: compare.command(lab, module, options, variant) for variant in PAIR}
    lines: Lines = queue.Queue()
    children = {variant: Child(commands[variant], variant, lab, lines) for variant in PAIR}
    try:
        yield Runs(children, lines)
    finally:
        for child in children.values():
            child.stop()
        for child in children.values():
            child.finish()


def options_of(lab: Lab, module: str, given: Sequence[str], report_s: float) -> Options:
    """Return the options for both runs: no end, free ports, and what was `given`.

    The debug servers get neighbouring ports, so that each one's live page finds the other run.
    """
    ports = [f"{option.flag}=0" for option in lab.options if option.is_port]
    own = [f"--port={free_port(2)}", f"--report-every={report_s}", "--forever", *ports]
    options = parse(lab, module, [*own, *given])
    if options.variant or options.hold or not options.serve:
        raise UsageError(f"{' '.join(given)}: both variants run here, until Ctrl-C, each with its "
                         "debug server; leave out what says otherwise")  # fmt: skip
    return options


def free_port(neighbours: int = 1) -> int:
    """Return the first of so many neighbouring ports that are all free."""
    while True:
        first = _bound(0)
        if all(_bound(first + more) for more in range(1, neighbours)):
            return first


def _bound(port: int) -> int:
    """Return the port that could be had for `port` (0: any), 0 where it is taken."""
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return 0
        number: int = probe.getsockname()[1]
        return number
