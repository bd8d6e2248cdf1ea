"""`python -m harness check TARGET`: does calling this function leak, where, and who holds it?"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import command
from harness.children import ending, run_child
from harness.cli import Parser, between
from harness.findings import Leak, Plan, Result
from harness.limits import hard
from harness.report import NOUNS, OUTSIDE, place
from harness.terminal import Terminal

CLEAN, LEAKED, UNKNOWN = 0, 1, 2
STATUS = {"clean": CLEAN, "leak": LEAKED, "unknown": UNKNOWN}
TIMEOUT_S = 60.0
DESCRIPTION = """Call a function in rounds, in a child process, and judge what stays open: files,
descriptors, sockets, pipes, processes, threads, tasks and memory. A leak is what grows in every
round, after garbage collection."""
EPILOG = """TARGET is package.module:function or path/file.py:function, sync or async, callable
without arguments. Exit status: 0 clean, 1 leak, 2 could not judge.

examples:
  python -m harness check shop.orders:place
      a function of a module
  python -m harness check tests/helpers.py:one_request --calls 5
      of a file, 5 calls in a round: for one that is slow
  python -m harness check shop.orders:place --json verdict.json || cat verdict.json
      for a program to read"""


def main(argv: Sequence[str]) -> int:
    """Judge the target that `argv` names, print the verdict and return the exit status.

    A signal ends it with the child that it has started, and 128 + its number.
    """
    return command.run("harness check", lambda: _main(argv))


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    if options.limit is not None and options.limit > hard():
        parser.error(f"argument --limit: {options.limit} is above the hard limit of {hard():.0f}")
    plan = Plan(options.calls, options.rounds)
    result = judge(options.target, plan, limit=options.limit, timeout_s=options.timeout)
    stream = sys.stderr if result.verdict == "unknown" else sys.stdout
    _show(as_text(options.target, result), Terminal(stream))
    if options.json:
        document = json.dumps(as_document(result), indent=2, ensure_ascii=False) + "\n"
        try:
            Path(options.json).write_text(document, encoding="utf-8")
        except OSError as error:
            sys.stderr.write(
                f"harness check: {options.json}: {error.strerror}: give another FILE\n"
            )
            return UNKNOWN
    return STATUS[result.verdict]


def judge(
    target: str, plan: Plan, *, limit: int | None = None, timeout_s: float = TIMEOUT_S
) -> Result:
    """Judge a target in a fresh child process; whatever that leaves running is ended.

    Args:
        target: `package.module:function` or `path/file.py:function`.
        plan: how many calls and rounds.
        limit: the soft limit on open descriptors in the child, `None` for that of this process.
        timeout_s: after so long the verdict is unknown.
    """
    with tempfile.TemporaryDirectory(prefix="harness-check-") as folder:
        file = Path(folder, "result.json")
        orders = {"target": target, "plan": asdict(plan), "limit": limit, "result": str(file)}
        ended = run_child("harness.checked", orders, timeout_s)
        if ended is None:
            return Result("unknown", reason=f"{target}: no verdict within {timeout_s:g} s; {_SLOW}")
        if not file.exists():
            return Result("unknown", reason=f"{target}: the process {ending(ended)} by itself")
        return _result(json.loads(file.read_text(encoding="utf-8")))


_SLOW = "try --calls 3, or a longer --timeout"


def _result(document: dict[str, Any]) -> Result:
    leaks = tuple(
        Leak(
            **{
                **leak,
                "opened_at": tuple((file, line, name) for file, line, name in leak["opened_at"]),
                "held_by": tuple(leak["held_by"]),
            }
        )
        for leak in document["leaks"]
    )
    return Result(**{**document, "leaks": leaks})


def _show(text: str, terminal: Terminal) -> None:
    """Write a verdict; its command stays on one line, to be pasted."""
    for line in text.splitlines():
        show = terminal.line if "python -m " in line else terminal.prose
        show(line)


def as_document(result: Result) -> dict[str, object]:
    """Return the result as `--json` writes it."""
    return {
        "verdict": result.verdict,
        "calls": result.calls,
        "leaks": [
            {
                "kind": leak.kind,
                "count": leak.count,
                "growth_per_call": leak.growth_per_call,
                "opened_at": [
                    {"file": file, "line": line, "function": function}
                    for file, line, function in leak.opened_at
                ],
                "held_by": list(leak.held_by),
            }
            for leak in result.leaks
        ],
    }


def as_text(target: str, result: Result) -> str:
    """Return the verdict for a terminal: evidence, then the next command to run."""
    if result.verdict == "unknown":
        return f"harness check: could not judge: {result.reason}\n"
    if result.verdict == "leak":
        lines = [f"⚠️  WARNING: {target} leaks!"]
        for leak in result.leaks:
            lines += describe(leak, result.calls)
        if result.reason:
            lines.append(f"then a call failed: {result.reason}")
        lines.append(f"mend it, then: python -m harness check {target}")
        return "\n".join(lines) + "\n"
    what = "no steady growth" if result.more else "nothing grew"
    lines = [f"✓ No leak! {target}: {what} over {result.rounds} rounds, {result.calls} calls"]
    lines += [
        f"  {count} {noun(kind, count)} more than before, as of a pool that fills; a leak as rare "
        "shows with more --calls"
        for kind, count in result.more.items()
    ]
    lines += [
        f"  {count} {noun(kind, count)} in a round closed only after the calls, by themselves or as"
        " garbage was collected: no leak, but nothing closes them at once"
        for kind, count in result.late.items()
    ]
    return "\n".join(lines) + "\n"


def describe(leak: Leak, calls: int, call: str = "call") -> list[str]:
    """Return one sentence of evidence on a leak, and the rest of its stack and holders.

    `call` is the word for what was made `calls` times.
    """
    if leak.kind == "memory":
        what = f"{leak.count} bytes of memory never freed"
    else:
        what = f"{leak.count} unclosed {noun(leak.kind, leak.count)}"
    made = f"{calls} {call}" if calls == 1 else f"{calls} {call}s"
    sentence = f"detected {what} after {made} ({_figure(leak.growth_per_call)} per {call})"
    verb = "allocated" if leak.kind == "memory" else "opened"
    lines = [f"{sentence}, {_opened_at(leak, verb)}"]
    lines += [f"  called from {place(frame)}" for frame in leak.opened_at[1:4]]
    lines += [f"  held by {line}" for line in leak.held_by[:3]]
    return lines


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _opened_at(leak: Leak, verb: str) -> str:
    if not leak.opened_at:
        return OUTSIDE
    through = f" through {leak.via}" if leak.via else ""
    return f"{verb} at {place(leak.opened_at[0])}{through}"


def noun(kind: str, count: int) -> str:
    """Return what to call `count` resources of a kind."""
    one, many = NOUNS.get(kind, (kind, f"{kind}s"))
    return one if count == 1 else many


def _parser() -> Parser:
    parser = Parser(
        prog="python -m harness check",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    number = between(1, 10**6, whole=True)
    parser.add_argument("target", metavar="TARGET", help="what to call")
    parser.add_argument(
        "--calls",
        type=number,
        metavar="N",
        help="calls in a round (default: as many as take 0.05 s, 10 to 25)",
    )
    parser.add_argument(
        "--rounds",
        type=number,
        default=Plan.rounds,
        metavar="R",
        help="rounds; as many again where four are not clear (default: %(default)s)",
    )
    parser.add_argument(
        "--limit",
        type=between(1, 2**31 - 1, whole=True),
        metavar="N",
        help="soft limit on open descriptors in the child, as ulimit -n",
    )
    parser.add_argument(
        "--timeout",
        type=between(0.1, 86400),
        default=TIMEOUT_S,
        metavar="S",
        help="give up after so many seconds (default: %(default)g)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the verdict as JSON")
    return parser
