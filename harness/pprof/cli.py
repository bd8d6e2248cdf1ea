"""`python -m harness pprof`: what profiles say, without Go."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TextIO
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

from harness import command
from harness.cli import Parser
from harness.pprof import report
from harness.pprof.flame import svg
from harness.pprof.profile import Profile, ProfileError, difference
from harness.pprof.proto import decode
from harness.terminal import write

PROGRAM = "python -m harness pprof"
_PATIENCE_S = 60.0
_READ_MAX_BYTES = 1 << 28

EXAMPLES = """\
examples:
  python -m harness pprof top http://localhost:6060/debug/pprof/goroutine
  python -m harness pprof traces goroutine.pprof
  python -m harness pprof diff current.pprof --base baseline.pprof
  python -m harness pprof svg http://localhost:6060/debug/pprof/fd -o fd.svg
"""


def main(argv: Sequence[str], out: TextIO | None = None) -> int:
    """Run the command in `argv` (without the program's name), writing to `out` or stdout.

    Returns the exit status: 0; 2 with one line on stderr for what the user can put right; 130
    after Ctrl-C; 141 if the output was closed.
    """
    arguments = parser().parse_args(argv)
    return command.run(PROGRAM, partial(_show, arguments, out or sys.stdout))


def _show(arguments: argparse.Namespace, out: TextIO) -> int:
    profile = _chosen(read(arguments.source), arguments.type)
    if arguments.base:
        profile = difference(profile, _chosen(read(arguments.base), arguments.type))
    _write(_rendered(arguments, profile), arguments.output, out)
    return command.DONE


def parser() -> Parser:
    """Return the parser of the command line."""
    made = Parser(
        prog=PROGRAM,
        description="Show a profile.proto, of this program or of any other (Go's too).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("command", choices=["top", "traces", "diff", "svg"], help=_COMMANDS)
    made.add_argument("source", metavar="FILE_OR_URL", help="a profile, gzipped or not")
    made.add_argument("--base", metavar="FILE_OR_URL", help="take this profile off; diff needs it")
    made.add_argument("-n", dest="count", type=_positive, default=20, help="rows of top and diff")
    made.add_argument("--type", help="value to show where there are several: inuse_space")
    made.add_argument("-o", dest="output", type=Path, metavar="FILE", help="write there")
    return made


_COMMANDS = (
    "top: the functions with the most; traces: every stack; diff: top of what came and went since "
    "--base; svg: a flame graph"
)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 999999")
    return int(text)


def _rendered(arguments: argparse.Namespace, profile: Profile) -> str:
    match arguments.command:
        case "svg":
            return svg(profile).encode("ascii", "xmlcharrefreplace").decode()
        case "traces":
            return report.traces(profile)
        case "diff" if not arguments.base:
            raise ProfileError(
                "diff needs an older profile to compare with: add --base FILE_OR_URL"
            )
    return report.top(profile, arguments.count)


def _chosen(profile: Profile, name: str | None) -> Profile:
    names = [value_type.type for value_type in profile.types]
    if name is not None and name not in names:
        raise ProfileError(f"--type {name}: the profile has {', '.join(names)}")
    return replace(profile, default_type=name) if name else profile


def _write(text: str, output: Path | None, out: TextIO) -> None:
    if output is None:
        encoding = out.encoding or "utf-8"
        write(out, text.encode(encoding, "backslashreplace").decode(encoding))
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ProfileError(f"cannot write {output}: {error.strerror}") from error


def read(source: str) -> Profile:
    """Read a profile from a file or an http(s) address.

    Raises `ProfileError` if it cannot be read, or is no profile.
    """
    is_url = source.startswith(("http://", "https://"))
    data = _fetched(source) if is_url else _file(Path(source))
    try:
        return decode(data)
    except ProfileError as error:
        raise ProfileError(f"{source}: {error}") from error


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProfileError(f"cannot read {path}: {error.strerror}") from error


def _fetched(url: str) -> bytes:
    """Ask the server, with patience for the time that it samples."""
    try:
        given = parse_qs(urlsplit(url).query).get("seconds", ["0"])[0]
        patience_s = _PATIENCE_S + (float(given) if given.isdecimal() else 0)
        with urlopen(url, timeout=patience_s) as answer:
            data: bytes = answer.read(_READ_MAX_BYTES)
            return data
    except HTTPError as error:
        said = error.read(500).decode(errors="replace").strip()
        raise ProfileError(f"{url}: {error.code} {error.reason}: {said}") from error
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ProfileError(f"cannot read {url}: {reason}. Is the program running?") from error
