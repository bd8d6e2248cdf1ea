"""What lsof, ss and netstat show of a run's connections, and what its tasks wait for."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .listing import ToolError, lsof, output_of, table
from .model import Run, View
from .probes import sockets


def views(run: Run, directory: Path, port: int) -> list[View]:
    """Return how lsof, ss and netstat show the connections to `port`, at the connecting end.

    On loopback both ends are in the picture: the other one is the upstream's.
    """
    return [_lsof(run, directory, port), _ss(directory, port), _netstat(directory, port)]


def _lsof(run: Run, directory: Path, port: int) -> View:
    arguments = ["-nP", "-a", "-p", str(run.pid), f"-iTCP:{port}", "-sTCP:ESTABLISHED"]
    command = f"lsof {' '.join(arguments)} | grep -c -- '->.*:{port}'"
    try:
        rows = lsof(arguments, directory)
    except ToolError as error:
        return _established_by_psutil(command, error, "lsof_clients", port)
    clients = sum("->" in row and f":{port} " in row.partition("->")[2] for row in rows)
    both = f"{clients}  (client ends, of {len(rows) - bool(rows)} rows for both ends)"
    return View(command, "lsof", (both,), {"lsof_clients": clients})


def _ss(directory: Path, port: int) -> View:
    command = f"ss -tan 'dport = :{port}' | awk '{{print $1}}' | sort | uniq -c"
    try:
        rows = table("ss", "State", output_of(["ss", "-tan", f"dport = :{port}"], directory))
        states: Mapping[str, int] = Counter(row.split()[0] for row in rows[1:])
        source = "ss"
    except ToolError as error:
        known, source = _by_psutil(error, port)
        if known is None:
            return View(command, source, ("n/a",), {})
        states = known
    return View(command, source, tuple(_counted(states)), {})


def _netstat(directory: Path, port: int) -> View:
    command = f"netstat -an | grep -c '[.:]{port} *ESTABLISHED'"
    try:
        rows = table("netstat", "Proto", output_of(["netstat", "-an"], directory))
    except ToolError as error:
        return _established_by_psutil(command, error, "netstat_established", port)
    count = sum(_to_port(row.split(), port) for row in rows)
    return View(command, "netstat", (str(count),), {"netstat_established": count})


def _by_psutil(error: ToolError, port: int) -> tuple[Mapping[str, int] | None, str]:
    """Return what psutil counts in a tool's place, `None` where it cannot; and who answered."""
    import psutil

    try:
        return sockets.clients_by_psutil(port), f"{error}: from psutil"
    except (psutil.Error, OSError):
        return None, f"{error}, and psutil cannot tell"


def _established_by_psutil(command: str, error: ToolError, name: str, port: int) -> View:
    states, source = _by_psutil(error, port)
    if states is None:
        return View(command, source, ("n/a",), {})
    count = states.get("ESTABLISHED", 0)
    return View(command, source, (str(count),), {name: count})


def _to_port(fields: Sequence[str], port: int) -> bool:
    """Tell whether a row of netstat is an established connection to `port` (`:` or, BSD, `.`)."""
    if len(fields) < 6 or not fields[0].startswith("tcp"):
        return False
    return fields[5] == "ESTABLISHED" and fields[4].endswith((f":{port}", f".{port}"))


def _counted(states: Mapping[str, int]) -> Iterator[str]:
    for state, count in Counter(states).most_common():
        yield f"{count:>7} {state}"


def _is_plumbing(function: str) -> bool:
    """Tell a frame that says only that something waits, not for what."""
    return function.startswith("asyncio.") or function.endswith(".wait")


def waiting(reading: str) -> View:
    """Return what this process's tasks wait in, alike ones counted, and how to read it."""
    from .pprof.goroutines import Goroutine, Numbers, Snapshot

    def place(task: Goroutine) -> tuple[str, str]:
        telling = (each.function for each in task.stack if not _is_plumbing(each.function))
        last = task.stack[-1].function
        return last if task.state == "running" else next(telling, last), task.state

    found = [each for each in Snapshot(Numbers()).goroutines() if each.kind == "task"]
    alike = Counter(place(each) for each in found if each.stack)
    lines = [
        f"{count:>7} {'task' if count == 1 else 'tasks'} in {function} [{state}]"
        for (function, state), count in sorted(alike.items(), key=lambda each: (-each[1], each[0]))
    ]
    return View("", "", (f"What the {len(found)} tasks wait in:", *lines, *reading.splitlines()))
