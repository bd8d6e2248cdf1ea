"""The memory that Python allocated, by the lines that did, as `tracemalloc` remembers it."""

import time
import tracemalloc
from functools import cache
from pathlib import Path

from harness.pprof.profile import Frame, Profile, ProfileError, Sample, Stack, ValueType, merged

_TYPES = (ValueType("inuse_objects", "count"), ValueType("inuse_space", "bytes"))
_OWN = (str(Path(__file__).parent), tracemalloc.__file__)
_SHORT_PARTS = 3

TURN_ON = (
    "tracemalloc is off, so nobody has noted which line allocated what. Start the program with "
    "--tracemalloc 16 (a lab), with PYTHONTRACEMALLOC=16 in its environment, or with "
    "tracemalloc.start(16) in its first line; 16 is the number of calls kept for each block."
)
COMMENT = "tracemalloc knows the blocks that still live; what was freed is in no column."


def memory_profile() -> Profile:
    """Return the blocks that live, by the stack that allocated them.

    Raises `ProfileError`, saying how to turn it on, if tracemalloc is off.
    """
    if not tracemalloc.is_tracing():
        raise ProfileError(TURN_ON)
    frame_of = cache(_frame)  # a few thousand lines allocate hundreds of thousands of blocks
    samples = (
        (tuple(frame_of(at.filename, at.lineno) for at in reversed(each.traceback)), each)
        for each in tracemalloc.take_snapshot().statistics("traceback")
    )
    space = ValueType("space", "bytes")
    return Profile(
        types=_TYPES,
        samples=merged(
            Sample(stack, (each.count, each.size)) for stack, each in samples if not _is_own(stack)
        ),
        period_type=space,
        time_ns=time.time_ns(),
        comments=(COMMENT,),
    )


def _is_own(stack: Stack) -> bool:
    return bool(stack) and stack[0].file.startswith(_OWN)


def _frame(file: str, line: int) -> Frame:
    """Return a call; tracemalloc knows lines, and no functions."""
    return Frame.at(_name(file, line), file, line)


def _name(file: str, line: int) -> str:
    return f"{'/'.join(Path(file).parts[-_SHORT_PARTS:]).lstrip('/')}:{line}"
