"""The root cause of a run's leak: the line that opened what is open, and who still holds it."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from math import inf
from threading import Lock
from types import ModuleType

from .holders import find_holders, shortened
from .paths import relative
from .reference_names import ARROW
from .report import UNTRACED, Group, group_by_origin, noun
from .tracker import Tracker

WHOLE_PATHS = partial(find_holders, paths=1, longest=sys.maxsize)
"""Finds the shortest path to each resource, and does not shorten how it is written."""
SMALLEST_SHARE = 4
"""A group is large when the largest is at most so many times as large."""
Frame = tuple[str, int, str]


class Evidence:
    """Looks into what `tracker` has seen opened and is still open.

    `subject` is the module under suspicion: what it opened comes first. Looking takes
    descriptors, which `lend` provides where none is left.
    """

    def __init__(
        self,
        tracker: Tracker,
        subject: ModuleType,
        lend: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._tracker = tracker
        self._subject = subject
        self._lend = lend
        self._looking = Lock()

    def groups(self, with_holders: bool = True) -> tuple[Group, ...]:
        """Return what is open, grouped by origin and holder; the subject's own groups first.

        Among the large groups those that the subject itself holds come first, the nearest to it
        before what that holds: a task before its socket, a process before its pipes.

        One look at a time: two would find each other among the holders. Without them it takes
        less time and memory.
        """
        find = WHOLE_PATHS if with_holders else None
        with self._looking, self._tracker.unwatched(), self._lend():
            found = group_by_origin(self._tracker.open_resources(), find)
        largest = max((group.count for group in found if self._is_subjects(group)), default=0)
        return tuple(sorted(found, key=partial(self._rank, largest)))

    def lines(self) -> tuple[str, ...]:
        """Return where the largest suspect group was opened, and what holds it."""
        groups = self.groups()
        if not groups:
            return ()
        return origin(groups[0]), f"held by {self._held_by(groups[0])}"

    def origins(self) -> Mapping[int, tuple[Frame, ...]]:
        """Return the stack that opened each descriptor, the innermost frame first."""
        with self._tracker.unwatched():
            opened = self._tracker.open_resources()
        return {each.descriptor: each.stack for each in opened if each.descriptor is not None}

    def rows(self) -> list[tuple[str, str, str]]:
        """Return a row for each group: how many of what, where opened, by whom held."""
        return [
            (f"{group.count} {noun(group)}", group.origin, held_by)
            for group, held_by in self.look(with_holders=True)
        ]

    def look(self, with_holders: bool) -> list[tuple[Group, str]]:
        """Return each group with who holds it, or with nothing where that is not asked for."""
        return [
            (group, self._held_by(group) if with_holders else "")
            for group in self.groups(with_holders)
        ]

    def _rank(self, largest: int, group: Group) -> tuple[bool, float, int]:
        is_large = group.count * SMALLEST_SHARE >= largest
        distance = self._distance(group) if is_large else inf
        return not self._is_subjects(group), distance, -group.count

    def _distance(self, group: Group) -> float:
        """Return how many references a group is away from what the subject holds itself.

        A transport is on a socket that is listed, too, and says less.
        """
        if group.kind == "transport" or not group.held_by:
            return inf
        return len(own_parts(group.held_by[0], self._subject)) or inf

    def _is_subjects(self, group: Group) -> bool:
        return any(file == self._subject.__file__ for file, _, _ in group.stack)

    def _held_by(self, group: Group) -> str:
        if not group.held_by:
            return "nobody: a number that no object owns" if group.is_number else UNTRACED
        return from_subject(group.held_by[0], self._subject)


def from_subject(path: str, subject: ModuleType) -> str:
    """Return a whole path of holders from the first thing on it that is the subject's, shortened.

    What comes before is how the run itself holds what it runs.
    """
    return shortened(ARROW.join(own_parts(path, subject) or path.split(ARROW)))


def own_parts(path: str, subject: ModuleType) -> list[str]:
    """Return the parts of a path from the first that is the subject's, or none.

    That is what its module itself holds, or something that it defines; where there is neither, a
    function of its file that waits in a generator or runs in a thread.
    """
    within = path.removeprefix(f"{subject.__name__}.")
    parts = within.split(ARROW)
    if within != path:
        return parts
    names, in_file = _defined_in(subject), f" at {_file(subject)}:"
    named = [at for at, part in enumerate(parts) if part.partition(".")[0] in names]
    own = named or [at for at, part in enumerate(parts) if in_file in part]
    return parts[own[0] :] if own else []


def _file(subject: ModuleType) -> str:
    """Return a subject's file as paths of holders have it."""
    return relative(str(subject.__file__))


def _defined_in(subject: ModuleType) -> set[str]:
    """Return the names of what the subject defines."""
    return {
        name
        for name, value in vars(subject).items()
        if getattr(value, "__module__", None) == subject.__name__
    }


def origin(group: Group) -> str:
    """Return where a group was opened, and how many there are."""
    return f"{group.origin}: {group.count} {noun(group)}"
