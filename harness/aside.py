"""Keeping our own descriptors out of the numbers that the program would get."""

import fcntl
import os

FIRST = 900


def moved_aside(number: int) -> int:
    """Move descriptor `number` to 900 or above, not inherited, and return where it is now.

    It stays where it is when the limit on descriptors leaves no such number.
    """
    try:
        aside = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST)
    except OSError:
        return number
    os.close(number)
    return aside
