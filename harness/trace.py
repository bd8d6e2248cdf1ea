"""A line for each resource as it is opened, and one when it is seen to be gone."""

from collections.abc import Callable, Iterable
from typing import Protocol

from harness.model import Opened

POLL_EVERY_S = 0.1
POLL_SHARE = 10
Key = tuple[float, str, int | None]


class Out(Protocol):
    """Anything to write lines to."""

    def write(self, text: str, /) -> object:
        """Write `text`."""


class Trace:
    """Writes `SECONDS + KIND TARGET PLACE` at an opening and `SECONDS - …` at a closing.

    No hook sees a close: every 0.1 s, at the next opening, what is open is compared with what was
    announced; less often where that takes long, so that it stays under a tenth of the time.
    `list_open` gives what is open, `clock` monotonic seconds; the first column counts from now.
    """

    def __init__(
        self, out: Out, list_open: Callable[[], Iterable[Opened]], clock: Callable[[], float]
    ) -> None:
        self._out = out
        self._list_open = list_open
        self._clock = clock
        self._start_s = self._next_poll_s = clock()
        self._announced: dict[Key, Opened] = {}

    def opened(self, opened: Opened) -> None:
        """Announce a resource that has just been opened, and what is gone since last time."""
        self._announce(opened)
        if self._clock() >= self._next_poll_s:
            self.poll()

    def poll(self) -> None:
        """Announce what has been closed, and opened where no hook saw it, since last time."""
        asked_s = self._clock()
        present = {_key(each): each for each in self._list_open()}
        for key in sorted(self._announced.keys() - present.keys(), key=lambda key: key[0]):
            self._write("-", self._announced.pop(key), asked_s)
        for each in present.values():
            self._announce(each)
        took_s = self._clock() - asked_s
        self._next_poll_s = asked_s + max(POLL_EVERY_S, POLL_SHARE * took_s)

    def _announce(self, opened: Opened) -> None:
        if _key(opened) not in self._announced:
            self._announced[_key(opened)] = opened
            self._write("+", opened, opened.opened_at_s)

    def _write(self, sign: str, opened: Opened, at_s: float) -> None:
        number = "" if opened.descriptor is None else f" fd {opened.descriptor}"
        place = "{}:{} in {}".format(*opened.stack[0]) if opened.stack else "unseen"
        seconds = f"{at_s - self._start_s:.3f}"
        self._out.write(f"{seconds} {sign} {opened.kind}{number} {opened.target} {place}\n")


def _key(opened: Opened) -> Key:
    return opened.opened_at_s, opened.kind, opened.descriptor
