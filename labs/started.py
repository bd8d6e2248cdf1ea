"""Threads that a subject started, told from those that were there before."""

import threading

from harness.patience import Patience


class Started:
    """The threads that start from now on.

    They are told one by one: threads of an earlier check may be ending just now, and a number alone
    would set them off against these.
    """

    def __init__(self) -> None:
        self._before = frozenset(threading.enumerate())

    def count(self) -> int:
        """Count those that run."""
        return len(set(threading.enumerate()) - self._before)

    def end(self, limit_s: float) -> bool:
        """Wait until none runs; return whether that was within `limit_s`."""
        return Patience(limit_s).until(lambda: not self.count())
