"""Who still holds an object: the shortest paths of references that keep it alive.

The search goes forwards from everything that lives by itself (modules, running frames), as the
garbage collector does, in one breadth-first pass, however many objects are asked for. So a path
cannot lead through the search itself: it is no root, and only it knows what it has found.
"""

import gc
import logging
import re
import signal
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from weakref import ReferenceType

from harness.collector import no_collection
from harness.instances import is_a, kind_name, referents
from harness.probes.calls import calls_of_threads
from harness.reference_names import (
    ARROW,
    Descriptions,
    Line,
    Locals,
    frame_locals,
    is_library_root,
    place,
)
from harness.tracking.stacks import is_library

_ATOMS = frozenset(map(id, (str, int, float, bool, type(None), bytes, complex, types.CodeType)))
"""Kinds that lead nowhere, by identity: a class need not be hashable."""
_INSTRUMENT = __name__.partition(".")[0]
_CYCLE = "an unreachable cycle, which the next gc.collect() frees"
OUTSIDE = "outside Python's sight (C code or a running expression)"
_NOBODY = "nothing: it closes when it is dropped"
_HIDDEN = -1  # the number of what is never found
_NO_PARENT = -1
_MOST_GROUPS = 20  # groups for which a second path is looked for
_MOST_DETOURS = 50
_GONE = "nothing: it was closed meanwhile"
LONGEST = 8  # names in a line; the middle of a longer one is left out


@dataclass(frozen=True)
class Held:
    """Objects that are held in the same way.

    `paths` are lines from a root to one of them, the shortest first; `members` are the positions
    of all of them in what was asked.
    """

    paths: tuple[str, ...]
    members: tuple[int, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The paths, and for how many objects the one shown stands."""
        alike = f" (1 of {len(self.members)} alike)" if len(self.members) > 1 else ""
        return tuple(path + alike for path in self.paths)


def find_holders(
    objects: Sequence[object], *, paths: int = 3, longest: int = LONGEST
) -> list[Held]:
    """Find what keeps objects alive, alike ones together, the most frequent first.

    Args:
        objects: what to look for, or weak references to it, dead ones of which are counted as
            held by nothing. The sequence is no holder by being asked for.
        paths: how many different paths to show at most for each group.
        longest: how many names a line has at most; a longer one is shortened.

    Returns:
        One `Held` for each way of being held; together they cover every object. An object that
        no root leads to is named as in an unreachable cycle, or as held outside Python's sight.

    A pass costs about 2 µs for each object on the heap, the number asked for hardly counts.
    """
    with no_collection():
        search = _Search(objects)
        search.run()
        try:
            return search.groups(paths, longest) + search.gone()
        finally:
            search.nodes.clear()


class _Search:
    """One pass over the heap: every object reached, and which object led to it first."""

    def __init__(self, objects: Sequence[object]) -> None:
        self._asked = objects
        live = {
            at: found for at, found in enumerate(map(_dereferenced, objects)) if found is not None
        }
        self.wanted = list(live.values())
        self._positions = list(live)
        self.nodes: list[object] = []
        self.parents: list[int] = []
        self._awaited: list[object] = []
        self._awaited_by: list[int] = []
        self._follows_loops = False
        self._plain: set[int] = set()
        self._atoms = _ATOMS - {id(type(each)) for each in self.wanted}
        self.number: dict[int, int] = dict.fromkeys(_hidden(), _HIDDEN)
        own = self, self.wanted, self.nodes, self.parents, self.number, self._awaited, self._plain
        self.number.update((id(each), _HIDDEN) for each in own)

    def run(self) -> None:
        """Reach what is wanted: from modules, then frames, else from threads, else from nothing.

        Modules come before frames altogether: what both hold is kept by the module, the frame
        will return. What an event loop holds only until something happens comes after both: a task
        that waits is there because somebody keeps it, or else because of the loop. What a
        `weakref.finalize` holds comes after all: somebody keeps it from being called.
        """
        self._spread([*sorted(_modules(), key=is_library_root), _registry()])
        self._spread(sorted(_running_frames(self._asked), key=is_library_root))
        self.number.setdefault(id(self._asked), _HIDDEN)
        if self._missing():
            self._go_on_from(lambda awaited: not _is_finalizer(awaited))
        if self._missing():
            for root, children in (*_running_threads(), _signal_handlers()):
                self._adopt(root, children)
        if self._missing():
            self._adopt(_root(OUTSIDE), self._held_outside())
        if self._missing():
            self._go_on_from(_is_finalizer)
        if self._missing():
            self._find_cycles()

    def _missing(self) -> bool:
        return any(id(found) not in self.number for found in self.wanted)

    def _spread(self, roots: Iterable[object]) -> None:
        first = len(self.nodes)
        for root in roots:
            if id(root) not in self.number:
                self._add(root, _NO_PARENT)
        self._grow(first)

    def _go_on_from(self, is_next: Callable[[object], bool]) -> None:
        first, self._follows_loops = len(self.nodes), True
        for awaited, parent in zip(self._awaited, self._awaited_by, strict=True):
            if is_next(awaited) and id(awaited) not in self.number:
                self._add(awaited, parent)
        self._grow(first)

    def _adopt(self, root: Locals, children: Iterable[object]) -> None:
        """Go on from objects that no object holds, as if `root` held them."""
        first = len(self.nodes)
        self._add(root, _NO_PARENT)
        for child in children:
            if id(child) not in self.number:
                self._add(child, first)
        self._grow(first + 1)

    def _add(self, node: object, parent: int) -> None:
        self.number[id(node)] = len(self.nodes)
        self.nodes.append(node)
        self.parents.append(parent)

    def _grow(self, first: int) -> None:
        """Breadth first: the list of nodes is its own queue, and grows while it is read.

        The hot path: what is of a plain kind costs no call of ours.
        """
        nodes, parents, number, plain = self.nodes, self.parents, self.number, self._plain
        atoms, of_plain = self._atoms, gc.get_referents
        for current, node in enumerate(islice(nodes, first, None), first):
            children = of_plain(node) if id(type(node)) in plain else referents(node)
            for child in children:
                if id(child) in number:
                    continue
                kind = id(type(child))
                if kind not in plain and (kind in atoms or self._is_passed_over(child, current)):
                    continue
                number[id(child)] = len(nodes)
                nodes.append(child)
                parents.append(current)

    def _is_passed_over(self, child: object, by: int) -> bool:
        """Tell whether `child` is only awaited, and so comes later; learn which kinds never are."""
        if not self._follows_loops and _is_awaited(child):
            self._awaited.append(child)
            self._awaited_by.append(by)
            return True
        if not _can_be_awaited(child) and not is_a(child, types.ModuleType):
            self._plain.add(id(type(child)))
        return False

    def _held_outside(self) -> list[object]:
        """Return what has more references than any object that the collector knows explains."""
        unreached = self._unreached()
        explained = Counter(map(id, (*self.wanted, *self._asked)))
        explained.update(map(id, self._awaited * 2))  # by who led to them, and by that list
        # a generator: after a loop of this function, its variable would be one more reference
        explained.update(id(child) for node in unreached for child in referents(node))
        beside = 3  # `unreached`, the loop's own name, getrefcount's argument
        return [node for node in unreached if sys.getrefcount(node) - beside > explained[id(node)]]

    def _find_cycles(self) -> None:
        """Adopt what only holds itself: first what refers to the wanted, so that it is named."""
        wanted = {id(node) for node in self.wanted}
        cyclic = [node for node in self._unreached() if id(node) not in wanted]
        self._adopt(_root(_CYCLE), [node for node in cyclic if not _is_container(node)])
        self._adopt(_root(_CYCLE), cyclic)
        referred = {id(child) for node in self.wanted for child in referents(node)}
        self._adopt(_root(_CYCLE), [node for node in self.wanted if id(node) in referred])
        self._adopt(_root(_NOBODY), self.wanted)

    def _unreached(self) -> list[object]:
        """Return what no root leads to, without the search's own running frames."""
        unreached = {id(node): node for node in gc.get_objects() if id(node) not in self.number}
        unreached |= {id(node): node for node in self.wanted if id(node) not in self.number}
        return [node for node in unreached.values() if not _is_own_frame(node)]

    def groups(self, paths: int, longest: int) -> list[Held]:
        """Put together what is held alike, with up to `paths` different lines for each group."""
        descriptions = Descriptions(self.nodes, self.parents)
        alike: dict[str, list[int]] = {}
        for at, found in enumerate(self.wanted):
            key = descriptions.line(self.number[id(found)]).key
            alike.setdefault(key, []).append(at)
        frequent = sorted(alike.values(), key=len, reverse=True)
        chains = [self._chain(self.number[id(self.wanted[group[0]])]) for group in frequent]
        others = self._detours(chains) if paths > 1 else [[] for _ in chains]
        return [
            Held(
                _distinct(descriptions, [chain, *detours], paths, longest),
                tuple(self._positions[at] for at in group),
            )
            for group, chain, detours in zip(frequent, chains, others, strict=True)
        ]

    def gone(self) -> list[Held]:
        """Put together what a dead weak reference was asked for."""
        dead = tuple(sorted(set(range(len(self._asked))) - set(self._positions)))
        return [Held((_GONE,), dead)] if dead else []

    def _chain(self, number: int) -> list[int]:
        chain = [number]
        while (number := self.parents[number]) >= 0:
            chain.append(number)
        return chain[::-1]

    def _detours(self, chains: list[list[int]]) -> list[list[list[int]]]:
        """Find other ways to each chain's end: by another holder of something on the chain."""
        joints: dict[int, list[tuple[int, int]]] = {}
        for which, chain in enumerate(chains[:_MOST_GROUPS]):
            for place_in_chain in _joints(chain, self.nodes):
                number = chain[place_in_chain]
                joints.setdefault(id(self.nodes[number]), []).append((which, place_in_chain))
        found: list[list[list[int]]] = [[] for _ in chains]
        plain, apart = self._plain, joints.keys().isdisjoint
        for number, node in enumerate(self.nodes):
            children = gc.get_referents(node) if id(type(node)) in plain else referents(node)
            if apart(map(id, children)):
                continue
            for child in children:
                for which, joint in joints.get(id(child), ()):
                    self._note_detour(found[which], chains[which], joint, number)
        return found

    def _note_detour(self, found: list[list[int]], chain: list[int], joint: int, by: int) -> None:
        rest = chain[joint:]
        if by == chain[joint - 1] or len(found) >= _MOST_DETOURS:
            return
        start = self._chain(by)
        through_same_holder = joint > 2 and chain[joint - 1] in start
        if set(start).isdisjoint(rest) and not through_same_holder:
            found.append(start + rest)


def _is_awaited(node: object) -> bool:
    """Tell what is held only until something happens: a registration, a task's next step."""
    if type(node) is types.BuiltinMethodType:
        return bool(node.__name__ == "task_wakeup")
    return _can_be_awaited(node)


def _can_be_awaited(node: object) -> bool:
    kind = type(node)
    return kind is types.BuiltinMethodType or kind_name(node) in {"SelectorKey", "_Info"}


def _is_finalizer(node: object) -> bool:
    """Tell whether this is what `weakref.finalize` remembers of one finalizer."""
    return kind_name(node) == "_Info"


def _joints(chain: list[int], nodes: list[object]) -> range:
    """Return where on a chain another holder counts as another reason.

    Not at what a module calls by name: that the same object has a second name says nothing new.
    """
    first = 3 if is_a(nodes[chain[0]], types.ModuleType) else 2
    return range(min(first, len(chain) - 1), len(chain))


def _distinct(
    descriptions: Descriptions, chains: Sequence[list[int]], most: int, longest: int
) -> tuple[str, ...]:
    """Describe chains, each way once: those of the program before a library's, shortest first."""
    lines: dict[str, Line] = {}
    for chain in sorted(chains, key=len):
        line = descriptions.along(chain)
        lines.setdefault(line.key, line)
    ranked = sorted(lines.values(), key=lambda line: line.library)
    return tuple(shortened(line.text, longest) for line in ranked[:most])


def shortened(line: str, longest: int = LONGEST) -> str:
    """Return a path of at most `longest` names as it is, of a longer one what matters.

    That is where it begins, its largest container, for that is where things pile up, and its end.
    """
    names = line.split(ARROW)
    if len(names) <= longest:
        return line
    largest = max(range(3, len(names) - 2), key=lambda at: _items(names[at]))
    kept = sorted({0, 1, 2, largest, len(names) - 2, len(names) - 1})
    gaps = [["…"] if later > earlier + 1 else [] for earlier, later in pairwise([*kept, kept[-1]])]
    return ARROW.join(
        name for at, gap in zip(kept, gaps, strict=True) for name in [names[at], *gap]
    )


def _items(name: str) -> int:
    """Return how many items a name says that its container has, 0 where it is none."""
    found = re.search(r"(\d+)(?: of \d+)? items\)", name)
    return int(found[1]) if found else 0


def _dereferenced(found: object) -> object:
    return found() if is_a(found, ReferenceType) else found


def _hidden() -> Iterator[int]:
    """What never counts as a holder: the instrument itself, and registries of all that runs."""
    for name, module in list(sys.modules.items()):
        if _is_instrument(name):
            yield id(module)
            yield id(vars(module))
    yield id(sys.modules)
    yield id(Locals)
    yield from map(id, (threading._active, threading._limbo))  # type: ignore[attr-defined]


def _is_instrument(module_name: object) -> bool:
    return str(module_name).partition(".")[0] == _INSTRUMENT


def _modules() -> list[object]:
    return list({id(each): each for each in list(sys.modules.values())}.values())


def _running_frames(asked: object) -> Iterator[Locals]:
    """Describe the running frames of all threads; the question itself is no holder in them."""
    threads = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    for ident, frame in _stacks():
        code = frame.f_code
        if not _can_hold(frame):
            continue
        where, alike = place(code, frame.f_lineno), place(code, 0)
        if ident != main:
            where = f"thread '{threads.get(ident, ident)}' in {where}"
            alike = f"thread in {alike}"
        names = {name: held for name, held in frame_locals(frame).items() if held is not asked}
        yield Locals(where, alike, names, library=is_library(code.co_filename))


def _stacks() -> Iterator[tuple[int, types.FrameType]]:
    """Yield each running frame but the instrument's, innermost first, with its thread's identifier.

    No variable may keep the frame it is in: that is a cycle with everything the callers hold.
    """
    for ident, calls in calls_of_threads().items():
        while calls:
            if not _is_own_frame(calls[0]):
                yield ident, calls[0]
            del calls[0]


def _can_hold(frame: types.FrameType) -> bool:
    """Leave out modules' own frames (the module is known), and the first ones of a thread.

    Those hold the thread itself, which is no reason for it.
    """
    name, code = frame.f_globals.get("__name__"), frame.f_code
    if code.co_filename == threading.__file__:
        return code.co_name not in {"_bootstrap", "_bootstrap_inner", "run"}
    return not (code.co_name == "<module>" and name in sys.modules)


def _root(title: str, *, library: bool = False) -> Locals:
    return Locals(title, title, {}, library=library)


def _registry() -> Locals:
    """Name the global registry that every logger leads to, so that a line starts with it."""
    title, names = "logging.root.manager", {"loggerDict": logging.root.manager.loggerDict}
    return Locals(title, title, names, style=".", library=True)


def _signal_handlers() -> tuple[Locals, Iterable[object]]:
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return _root("signal handlers", library=True), handlers


def _running_threads() -> Iterator[tuple[Locals, Iterable[object]]]:
    """A thread that nothing refers to lives because it runs: say in which of the program's lines.

    Where all its frames are a library's, the innermost is named.
    """
    stacks: dict[int, list[types.FrameType]] = {}
    for ident, frame in _stacks():
        stacks.setdefault(ident, []).append(frame)
    for ident, frames in stacks.items():
        thread = threading._active.get(ident)  # type: ignore[attr-defined]
        if thread is not None:
            own = (frame for frame in frames if not is_library(frame.f_code.co_filename))
            at = next(own, frames[0])
            title = f"running: {place(at.f_code, at.f_lineno)}"
            yield Locals(title, f"running: {place(at.f_code, 0)}", {}), [thread]


def _is_own_frame(node: object) -> bool:
    return is_a(node, types.FrameType) and _is_instrument(node.f_globals.get("__name__"))


def _is_container(node: object) -> bool:
    return is_a(node, dict, list, tuple, set, frozenset)
