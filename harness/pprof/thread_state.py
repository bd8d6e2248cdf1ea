"""What a thread is waiting for: its stack, the call it is in, and the system call below it."""

import ast
import dis
import linecache
import re
from itertools import islice
from pathlib import Path
from types import FrameType

from harness.pprof import waits
from harness.pprof.profile import Stack

_CALLS = (
    (r"(^|\.)sleep$", waits.SLEEP),
    (r"(^|\.)(recv(from|msg)?(_into)?|_?accept|connect|send(all|msg|to|file)?)$", waits.IO_WAIT),
    (r"(^|\.)_?sslobj\.(read|write)$", waits.IO_WAIT),
    (r"(^|\.)(select|poll|epoll|control)$", waits.SELECT),
    (r"(queue|_q|^q)\.get$", waits.RECEIVE),
    (r"(^|\.)acquire$", waits.LOCK),
    (r"(^|\.)(read\w*|write\w*|open|fsync|flush|waitpid|wait4|waitid|flock|lockf)$", waits.SYSCALL),
)
"""Functions written in C, which no Python frame shows, by the way that their caller spells them."""

_WITH = {"BEFORE_WITH", "CALL"}  # the second from Python 3.14 on
_CONTEXT = re.compile(r"(?:with\s+)?([\w.]+)(?:$|[\s,:])")
"""The lock of `with lock:`; until Python 3.12 the place is the whole statement, then the name."""
_HAS_DESCRIPTOR = {waits.IO_WAIT, waits.SYSCALL, waits.SELECT}
_DESCRIPTORS_MAX = 1 << 20


def thread_state(frame: FrameType, stack: Stack, native_id: int | None) -> tuple[str, str]:
    """Return the state of the thread whose innermost frame is `frame`, and what it waits on.

    `native_id` is the thread's number at the operating system, where that is known. On Linux it
    gives the descriptor that the thread reads, as far as the kernel tells.
    """
    call = call_at(frame)
    state, waits_on = waits.known_wait(stack) or (state_of_call(call), call)
    if state in _HAS_DESCRIPTOR and native_id is not None:
        waits_on = descriptor_in_use(native_id) or waits_on
    return state, "" if state == waits.RUNNING else waits_on


def state_of_call(call: str) -> str:
    """Return the state of a thread that is inside `call` (`conn.recv`), `running` if unknown."""
    return next((state for name, state in _CALLS if re.search(name, call)), waits.RUNNING)


def call_at(frame: FrameType) -> str:
    """Return the name of the call that `frame` is making, as the source spells it, or nothing."""
    source = _source(frame)
    if _enters_with(frame) and (lock := _CONTEXT.match(source)):
        return f"{lock[1]}.acquire"
    try:
        node = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError):
        return ""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _enters_with(frame: FrameType) -> bool:
    return dis.opname[frame.f_code.co_code[frame.f_lasti]] in _WITH


def _source(frame: FrameType) -> str:
    """Return the text of the expression that `frame` is in, nothing if the source is not there."""
    code = frame.f_code
    place = next(islice(code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    line, end_line, column, end_column = place
    if line is None or end_line is None or column is None or end_column is None:
        return ""
    lines = [
        linecache.getline(code.co_filename, number, frame.f_globals).encode()
        for number in range(line, end_line + 1)
    ]
    end = len(b"".join(lines[:-1])) + end_column
    return b"".join(lines)[column:end].decode().strip()


def descriptor_in_use(native_id: int) -> str:
    """Return what the first argument of the thread's system call refers to, if a descriptor.

    See proc_pid_syscall(5): the number of the call, then its arguments in hexadecimal.
    """
    try:
        words = Path(f"/proc/self/task/{native_id}/syscall").read_text().split()
        number = int(words[1], 16) if len(words) > 1 else _DESCRIPTORS_MAX
        if number < _DESCRIPTORS_MAX:
            return f"{Path(f'/proc/self/fd/{number}').readlink()} (fd {number})"
    except OSError:  # not Linux, not permitted, or no descriptor left to read it with
        pass
    return ""
