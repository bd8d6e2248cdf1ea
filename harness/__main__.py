"""The instrument's own command line: `python -m harness COMMAND`."""

import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

COMMANDS = {
    "run": ("harness.run", "run a program and say what it leaves open, opened where, held by whom"),
    "check": ("harness.check", "judge a function by calling it: what grows with every call leaks"),
    "watch": (
        "harness.watch",
        "watch a process: descriptors, sockets, growth, time until its limit",
    ),
    "monitor": ("harness.monitoring.cli", "run a lab under Prometheus, with alerts, until Ctrl-C"),
    "doctor": ("harness.doctor", "try what the labs need on this machine"),
    "pprof": ("harness.pprof.cli", "show a profile without Go: top, traces, diff, svg"),
}
USAGE = 2


def _help() -> str:
    lines = (f"  {name:<8}{what}" for name, (_, what) in COMMANDS.items())
    return (
        "usage: python -m harness COMMAND [ARGUMENTS]\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\npython -m harness COMMAND --help shows what each takes.\n"
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command that the first of `arguments` names; return its exit status."""
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"harness: error: no command {name!r}: it is {', '.join(COMMANDS)}\n")
        return USAGE
    return _loaded(COMMANDS[name][0])(arguments[1:])


def _loaded(module: str) -> Callable[[Sequence[str]], int]:
    """Return the command of `module`; while it is imported Ctrl-C ends all without a traceback.

    Nor is anything looked for in the current folder, where `-m` makes Python look first: a file
    there may have the name of a module that is meant.
    """
    before, path = signal.signal(signal.SIGINT, signal.SIG_DFL), list(sys.path)
    sys.path[:] = path[not sys.flags.safe_path :]
    try:
        command: Callable[[Sequence[str]], int] = import_module(module).main
    finally:
        sys.path[:] = path
        signal.signal(signal.SIGINT, before)
    return command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
