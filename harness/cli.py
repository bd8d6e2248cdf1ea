"""The command line that every lab has: `python -m labs.NAME`, and its exit statuses."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from . import command
from .errors import UsageError
from .model import Lab, Option, Variant

LOOPBACK = "127.0.0.1"
"""The debug server and the upstreams listen here, where only this machine can reach them."""

EXHAUSTED = command.FOUND
OFFSETS = {Variant.LEAKY: 0, Variant.FIXED: 1, Variant.MINE: 2}
"""What is added to a port for each variant, so that they can run side by side."""

FORMATS = ("github", "grid", "plain", "html", "json")
SERVER_PORT = Option(
    "--port",
    "port of the debug server; 0: any free one (6060 leaky, 6061 fixed, 6062 mine)",
    "--leaky --port 7070",
    default=6060,
    is_port=True,
)
ULIMIT = Option(
    "--ulimit",
    "soft limit on open descriptors for the run",
    "--leaky --ulimit 256",
    minimum=1,
    maximum=2**31 - 1,
)
TRACEMALLOC = Option(
    "--tracemalloc",
    "trace memory with N frames, for the profiles heap and allocs",
    "--leaky --tracemalloc 8",
    minimum=1,
    maximum=100,
)
COMMON = (SERVER_PORT, ULIMIT, TRACEMALLOC)
EXAMPLES = (
    ("", "leaky and fixed at once, then the comparison"),
    ("--leaky", "the leak alone"),
    ("--fixed", "its fix alone"),
    ("--mine", "your copy in workbook/; python -m labs start makes one"),
    ("--fixed --duration 4", "for 4 seconds"),
    ("--leaky --forever", "until Ctrl-C"),
    ("--fixed --rate 2000", "2000 operations a second"),
    ("--leaky --report-every 0.5", "a line every half second"),
    ("--format html", "the table as HTML; the lines go to stderr"),
    ("--plot leak.svg", "both curves, the limit and the verdict as a picture"),
    ("--leaky --json", "one JSON object per report, then the result"),
    ("--leaky --no-server", "without the debug server"),
    ("--leaky --host 0.0.0.0 --allow-remote", "let other machines see the debug server"),
    ("--leaky --hold", "stay at the end, to look around, until Ctrl-C"),
)


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line, checked."""

    variant: Variant | None
    duration_s: float
    rate_hz: float
    report_every_s: float
    style: str
    as_json: bool
    serve: bool
    host: str
    allow_remote: bool
    hold: bool
    lifeline: bool
    plot: str | None
    numbers: dict[str, float | None]

    def value(self, option: Option, variant: Variant) -> float | None:
        """Return the value of `option` for `variant`.

        A default port counts up from leaky to fixed, and so does a given one where both run.
        """
        given = self.numbers[option.key]
        value = option.default if given is None else given
        if value and option.is_port and (given is None or self.variant is None):
            value += OFFSETS[variant]
            if value > option.maximum:
                raise UsageError(f"{option.flag} {given:g}: no port is left for {variant}")
        return value


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print `message` in one line on stderr and exit with status 2."""
        sys.exit(command.refuse(self.prog, f"{message} (--help shows examples)"))


def between(minimum: float, maximum: float, whole: bool = False) -> Callable[[str], float]:
    """Return a converter for a number in a closed range; its errors name value and range."""
    kind = "whole number" if whole else "number"

    def convert(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(
                f"{text} is not a {kind} from {minimum:g} to {maximum:.10g}"
            )
        return value

    return convert


def parser(lab: Lab, program: str) -> Parser:
    """Return the parser of a lab's command line, its own options included."""
    made = Parser(
        prog=program,
        description=f"{lab.title}. Without a variant: leaky and fixed at once, compared.",
        epilog=_examples(lab, program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_variants(made)
    _add_pace(made, lab)
    _add_output(made)
    for option in (*COMMON, *lab.options):
        convert = between(option.minimum, option.maximum, option.is_whole)
        made.add_argument(option.flag, type=convert, metavar="N", help=option.help)
    made.add_argument("--lifeline", action="store_true", help=argparse.SUPPRESS)
    return made


def _add_variants(made: Parser) -> None:
    variants = made.add_mutually_exclusive_group()
    for variant, what in (
        (Variant.LEAKY, "the leak alone"),
        (Variant.FIXED, "its fix alone"),
        (Variant.MINE, "your copy alone, from the folder workbook"),
    ):
        variants.add_argument(
            f"--{variant}", dest="variant", action="store_const", const=variant, help=what
        )


def _add_pace(made: Parser, lab: Lab) -> None:
    length = made.add_mutually_exclusive_group()
    length.add_argument(
        "--duration",
        type=between(0.1, 86400),
        default=10.0,
        metavar="S",
        help="seconds (default: 10)",
    )
    length.add_argument("--forever", action="store_true", help="until Ctrl-C")
    made.add_argument(
        "--rate",
        type=between(0.1, 10_000),
        default=lab.rate_hz,
        metavar="HZ",
        help=f"operations a second (default: {lab.rate_hz:g})",
    )
    made.add_argument(
        "--report-every",
        type=between(0.05, 3600),
        default=2.0,
        metavar="S",
        help="seconds between reports (default: 2)",
    )


def _add_output(made: Parser) -> None:
    made.add_argument("--format", choices=FORMATS, default="github", help="of the comparison table")
    made.add_argument("--json", action="store_true", help="one JSON object per report")
    made.add_argument("--plot", metavar="FILE", help="draw the curves into FILE (.svg or .png)")
    made.add_argument("--no-server", action="store_true", help="start no debug server")
    made.add_argument(
        "--host", default=LOOPBACK, help=f"address of the debug server (default: {LOOPBACK})"
    )
    made.add_argument(
        "--allow-remote", action="store_true", help="let --host be reached from other machines"
    )
    made.add_argument("--hold", action="store_true", help="stay at the end until Ctrl-C")


def _examples(lab: Lab, program: str) -> str:
    own = ((option.example, option.help) for option in (*COMMON, *lab.options))
    lines = (
        f"  python -m {program} {flags}".rstrip() + f"\n      {what}"
        for flags, what in (*EXAMPLES, *own)
    )
    return "examples:\n" + "\n".join(lines)


def parse(lab: Lab, program: str, arguments: Sequence[str]) -> Options:
    """Return the options in `arguments`; a nonsense value exits with one line and status 2."""
    known = parser(lab, program)
    given = known.parse_args(arguments)
    if given.host != LOOPBACK and not given.allow_remote:
        known.error(
            f"--host {given.host}: others may reach it; add --allow-remote if that is meant"
        )
    return Options(
        variant=given.variant,
        duration_s=math.inf if given.forever else given.duration,
        rate_hz=given.rate,
        report_every_s=given.report_every,
        style=given.format,
        as_json=given.json,
        serve=not given.no_server,
        host=given.host,
        allow_remote=given.allow_remote,
        hold=given.hold,
        lifeline=given.lifeline,
        plot=given.plot,
        numbers={option.key: getattr(given, option.key) for option in (*COMMON, *lab.options)},
    )


def main(lab: Lab, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run the lab called `program` (its module's name) as `arguments` say; return the exit status.

    0: it ran to its end; 1: a resource ran out before; 2: it could not be run as asked;
    128 + a signal's number: that signal ended it (130 Ctrl-C); 141: its output was closed.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return command.run(program, lambda: _run(lab, program, parse(lab, program, given)))


def _run(lab: Lab, program: str, options: Options) -> int:
    if options.plot is not None:
        from .plot import check

        check(options.plot)
    if options.variant is None:
        from .compare import compare

        return compare(lab, program, options)
    from .single import run_one

    return run_one(lab, options.variant, options)
