"""How much memory a process holds."""

import ctypes
import sys
from functools import cache
from typing import NamedTuple


class Allocated(NamedTuple):
    """What this process has allocated: Python's small blocks, and bytes of larger ones.

    `sys.getallocatedblocks` counts blocks of up to 512 bytes; larger ones are the C library's, as
    are NumPy's arrays (Doc/c-api/memory.rst).
    """

    blocks: int
    large_bytes: int


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` (mallinfo2(3), glibc 2.33)."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def allocated() -> Allocated:
    """Return what this process has allocated; no large bytes where the C library tells none."""
    ask = _mallinfo()
    info = ask() if ask else None
    large_bytes = info.uordblks + info.hblkhd if info else 0
    return Allocated(sys.getallocatedblocks(), large_bytes)


@cache
def _mallinfo() -> "ctypes._NamedFuncPointer | None":
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is not None:
        ask.restype = _Mallinfo
    return ask


def rss_bytes(pid: int | None = None) -> int | None:
    """Return the resident set size of `pid` in bytes, or `None` where it cannot be read.

    Raises OSError with no descriptor left to read it through.
    """
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
