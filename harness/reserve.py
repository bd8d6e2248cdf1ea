"""One descriptor held back, so that there is still one to use when the process has run out."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Reserve:
    """Holds a descriptor of the null device until someone needs one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(os.devnull, os.O_RDONLY)

    def give_up(self) -> bool:
        """Close the descriptor so that the next call that opens one succeeds; False if spent."""
        with self._lock:
            if self._descriptor is None:
                return False
            os.close(self._descriptor)
            self._descriptor = None
            return True

    def take_over(self, descriptor: int, source: int) -> bool:
        """Turn `descriptor`, which the caller is done with, into the reserve; False if not needed.

        `dup2` of `source` swaps it in one step: no other thread can take the number in between,
        and no further descriptor is needed.
        """
        with self._lock:
            if self._descriptor is not None:
                return False
            os.dup2(source, descriptor, inheritable=False)
            self._descriptor = descriptor
            return True

    def restore(self) -> bool:
        """Hold a descriptor again; False when there is none to be had."""
        with self._lock:
            if self._descriptor is None:
                try:
                    self._descriptor = os.open(os.devnull, os.O_RDONLY)
                except OSError:
                    return False
            return True

    @contextmanager
    def spent(self) -> Iterator[None]:
        """Lend the descriptor's place to the body of the `with`."""
        self.give_up()
        try:
            yield
        finally:
            self.restore()

    def close(self) -> None:
        """Give the descriptor back for good."""
        self.give_up()
