"""The commands of the course."""

import argparse
import sys
from collections.abc import Sequence

from harness import mine
from harness.cli import Parser

from . import catalogue


def main(arguments: Sequence[str]) -> int:
    """Do what `arguments` ask for and return the exit status."""
    given = _parser().parse_args(arguments)
    return int(given.do(given))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m labs", description="The course.")
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="judge your copy by measurement")
    check.add_argument("name", metavar="NAME")
    check.set_defaults(do=_check)
    verify = commands.add_parser("verify", help="for maintainers: hold every lab to its contract")
    verify.add_argument("names", metavar="NAME", nargs="*")
    verify.set_defaults(do=_verify)
    return parser


def _check(given: argparse.Namespace) -> int:
    from .judge import judge
    from .verdict import as_text

    name = catalogue.checked(given.name)
    path = mine.path_of(name)
    judgement = judge(name, [path])[0]
    sys.stdout.write(as_text(name, path, judgement))
    return 0 if judgement.passed else 1


def _verify(given: argparse.Namespace) -> int:
    from .verify import verify

    return verify(given.names or catalogue.names(), sys.stdout)
