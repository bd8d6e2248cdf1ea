"""Names for references: what one object calls another that it holds.

`Descriptions` turns a chain of objects into one line, such as
`service.AGGREGATOR → LogAggregator._recent (list, 500 items) → TextIOWrapper`, and into a
key that is equal for chains that are alike: the key leaves out sizes, numbers and thread names.
"""

import builtins
import collections
import functools
import gc
import sys
import threading
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from harness.instances import attribute, class_name, is_a, kind_name, members, module_name, own_dict
from harness.paths import relative
from harness.tracking.stacks import is_library

if TYPE_CHECKING:
    import asyncio

ARROW = " → "
_CONTAINERS = (list, tuple, set, frozenset, dict, collections.deque)
_NAMED = (type, types.FunctionType, types.ModuleType)
_SUSPENDED = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
_METHODS = (types.MethodType, types.BuiltinMethodType)
_C_ATTRIBUTES = ("buffer", "raw", "__self__", "func", "args", "keywords", "__wrapped__")
_MISSING = object()


@dataclass(frozen=True, slots=True, eq=False)
class Locals:
    """Something to start from that is no module: a running frame with its local variables.

    `key` is the title without what differs between alike frames; `style` stands before a name;
    `library` tells that the frame is of Python's own or an installed library's code.
    """

    title: str
    key: str
    names: Mapping[str, object]
    style: str = ", local "
    library: bool = False


def frame_locals(frame: types.FrameType) -> dict[str, object]:
    """Copy a frame's local variables and leave no reference behind.

    Before Python 3.13 `frame.f_locals` keeps a snapshot of the variables inside the frame, which
    would keep alive what the program drops later: a leak made by looking. It is emptied again,
    unless somebody else, such as a debugger, uses it.
    """
    if frame.f_code.co_flags & 0x1 == 0 or sys.version_info >= (3, 13):  # 0x1: CO_OPTIMIZED
        return dict(frame.f_locals)
    snapshot = frame.f_locals
    names = dict(snapshot)
    unused = sys.getrefcount(snapshot) <= 3  # the frame, `snapshot`, the argument
    if frame.f_trace is None and unused:
        snapshot.clear()
    return names


def place(code: types.CodeType, line: int | None) -> str:
    """Name a place in code: `function() at file.py:12`, the file relative to here if below."""
    return f"{code.co_name}() at {relative(code.co_filename)}:{line or code.co_firstlineno}"


def items(container: object) -> str:
    """Say what container this is and how full: `list, 500 items`, `deque, 9 of 100 items`."""
    size = len(container)  # type: ignore[arg-type]
    most = container.maxlen if type(container) is collections.deque else None
    full = f"{size} of {most}" if most is not None else size
    return f"{kind_name(container)}, {full} item{'' if size == 1 else 's'}"


def namespace_of(owner: object) -> tuple[str, Mapping[str, object]]:
    """Return how `owner` speaks of what it holds by name (`.`, ` local ` …), and those names."""
    if is_a(owner, Locals):
        return owner.style, owner.names
    if is_task(owner):
        return ", local ", _suspended_locals(owner)
    for kinds, style, read in _NAMESPACES:
        if is_a(owner, kinds):
            return style, read(owner)
    return ".", _attributes(owner)


def is_plumbing(node: object, owner: object) -> bool:
    """Tell whether `node` only carries the names of `owner`: its `__dict__`, a cell, a traceback.

    Such nodes are left out of a line: the name says it all.
    """
    if is_a(node, types.CellType, types.TracebackType):
        return True
    if is_a(owner, types.FunctionType):
        return node is owner.__closure__
    if is_a(owner, Locals):
        return node is owner.names
    if is_task(owner):
        return node is owner.get_coro()
    return is_a(node, dict) and _is_dict_of(node, owner)


def _is_dict_of(node: dict[object, object], owner: object) -> bool:
    names = own_dict(owner)
    if isinstance(names, types.MappingProxyType):  # a class shows its dict behind a proxy
        return any(behind is node for behind in gc.get_referents(names))
    return names is node


def _attributes(owner: object) -> dict[str, object]:
    names = dict(own_dict(owner))
    for name, member in members(owner):
        if is_a(member, types.MemberDescriptorType) or name in _C_ATTRIBUTES:
            names.setdefault(name, attribute(owner, name, _MISSING))
    return names


def is_task(node: object) -> "TypeGuard[asyncio.Task[object]]":
    """Tell whether this is an asyncio task, without importing asyncio for it."""
    return _is_of_asyncio(node, "Task")


def _is_of_asyncio(node: object, name: str) -> bool:
    asyncio = sys.modules.get("asyncio")
    return is_a(node, getattr(asyncio, name, ()))


def suspended_frame(owner: object) -> types.FrameType | None:
    """Return the frame of a generator, a coroutine or a task's coroutine; `None` once it ended."""
    if is_task(owner):
        owner = owner.get_coro()
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        frame = getattr(owner, name, None)
        if frame is not None:
            assert isinstance(frame, types.FrameType)
            return frame
    return None


def _suspended_locals(owner: object) -> dict[str, object]:
    frame = suspended_frame(owner)
    return frame_locals(frame) if frame is not None else {}


def _closure(function: types.FunctionType) -> dict[str, object]:
    cells = function.__closure__ or ()
    return {
        name: _MISSING if cell == types.CellType() else cell.cell_contents
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True)
    }


_NAMESPACES: tuple[
    tuple[type | tuple[type, ...], str, Callable[..., Mapping[str, object]]], ...
] = (
    (types.FrameType, ", local ", frame_locals),
    (_SUSPENDED, ", local ", _suspended_locals),
    (types.FunctionType, ", closure variable ", _closure),
    (types.ModuleType, ".", own_dict),
    ((*_CONTAINERS, *_METHODS), "", lambda _owner: {}),
)


def reference_name(owner: object, child: object) -> str:
    """Return what `owner` calls `child` (`.attribute`, `, local name`), empty for an item of it."""
    if is_a(owner, BaseException) and is_a(child, types.FrameType):
        return ".__traceback__"
    style, names = namespace_of(owner)
    return next((style + name for name, value in names.items() if value is child), "")


def is_library_root(root: object) -> bool:
    """Tell whether a module or frame belongs to Python or an installed library."""
    if is_a(root, types.ModuleType):
        name = str(attribute(root, "__name__")).partition(".")[0]
        built_in = name in sys.stdlib_module_names and name != "__main__"
        return built_in or is_library(str(attribute(root, "__file__") or ""))
    return is_a(root, Locals) and root.library


class Line(NamedTuple):
    """One line of text for a chain of references, and its key: equal for chains that are alike.

    `library` tells that it begins in a library or leads through an event loop, `own` that something
    of the program's is on it since then.
    """

    text: str
    key: str
    library: bool
    own: bool

    def then(self, text: str, key: str | None = None) -> "Line":
        """Return the line with more text behind it."""
        key = text if key is None else key
        return Line(self.text + text, self.key + key, self.library, self.own)


class Descriptions:
    """Describes nodes of a tree of references, each by the line of its parent and its own name.

    Args:
        nodes: the objects found.
        parents: for each node the number of the node that led to it, -1 for a root.
    """

    def __init__(self, nodes: list[object], parents: list[int]) -> None:
        self._nodes = nodes
        self._parents = parents
        self._lines: dict[int, tuple[Line, int]] = {}

    def line(self, number: int) -> Line:
        """Return the line from the root to the node of this number."""
        missing = []
        while number not in self._lines:
            missing.append(number)
            parent = self._parents[number]
            if parent < 0:
                break
            number = parent
        for step in reversed(missing):
            self._lines[step] = self._describe(step, self._parents[step])
        return self._lines[missing[0] if missing else number][0]

    def along(self, path: list[int]) -> Line:
        """Return the line for any chain of nodes that starts at a root."""
        owner = self._nodes[path[0]]
        line = _root_line(owner)
        for node in (self._nodes[number] for number in path[1:]):
            if not is_plumbing(node, owner):
                line = _step(line, owner, node)
                owner = node
        return line

    def _describe(self, number: int, parent: int) -> tuple[Line, int]:
        node = self._nodes[number]
        if parent < 0:
            return _root_line(node), number
        line, owner = self._lines[parent]
        if is_plumbing(node, self._nodes[owner]):
            return line, owner
        return _step(line, self._nodes[owner], node), number


def _root_line(root: object) -> Line:
    if is_a(root, Locals):
        return Line(root.title, root.key, root.library, own=not root.library)
    name = str(attribute(root, "__name__", kind_name(root)))
    library = is_library_root(root)
    return Line(name, name, library, own=not library)


def _step(line: Line, owner: object, node: object) -> Line:
    if _is_of_asyncio(node, "AbstractEventLoop"):
        line = line._replace(library=True, own=False)
    text, key = title(node)
    if line.library and _only_runs(line, owner, node):
        return Line(text, key, library=True, own=_is_own(node))
    if not line.own and _is_own(node):
        line = line._replace(own=True)
    name = reference_name(owner, node)
    size = _size(node)
    if name and is_a(node, *_NAMED):
        return line.then(name)
    if not size:
        return line.then(f"{name}{ARROW}{text}", f"{name}{ARROW}{key}")
    if name or (is_a(owner, Locals) and not owner.names):
        return line.then(f"{name} ({size})", f"{name} ({key})")
    return line.then(f"{ARROW}{text} ({size.partition(', ')[2]})", f"{ARROW}{key}")


def _only_runs(line: Line, owner: object, node: object) -> bool:
    """Tell whether a library only keeps a task or thread going, which says nothing.

    Behind something of the program's it is that which keeps it, unless it only waits there.
    """
    if not (is_task(node) or is_a(node, threading.Thread)):
        return False
    return not line.own or (is_a(owner, *_METHODS) and owner.__self__ is node)


def _is_own(node: object) -> bool:
    """Tell whether this is the program's: its suspended code, or of a class that it defines."""
    if is_task(node) or is_a(node, *_SUSPENDED):
        frame = suspended_frame(node)
        return frame is not None and not is_library(frame.f_code.co_filename)
    return not is_library_root(sys.modules.get(module_name(node), builtins))


def _size(node: object) -> str:
    if is_a(node, functools._lru_cache_wrapper):
        held = node.cache_info().currsize
        return f"lru_cache, {held} item{'' if held == 1 else 's'}"
    return items(node) if any(type(node) is kind for kind in _CONTAINERS) else ""


def title(node: object) -> tuple[str, str]:
    """Return what an object is called on its own, with and without what differs between alike."""
    kind = kind_name(node)
    if is_a(node, threading.Thread):
        return f"thread '{attribute(node, '_name')}'", "thread"
    if is_a(node, types.FrameType):
        return place(node.f_code, node.f_lineno), place(node.f_code, 0)
    if is_task(node) or is_a(node, *_SUSPENDED):
        return _suspended_title(node)
    if is_a(node, *_METHODS):
        kind = f"bound method {node.__qualname__}"
    elif is_a(node, type):
        kind = f"{kind} {class_name(node)}"
    elif is_a(node, types.FunctionType, types.ModuleType):
        kind = f"{kind} {attribute(node, '__name__')}"
    elif is_a(node, functools._lru_cache_wrapper):
        kind = "lru_cache"
    return kind, kind


def _suspended_title(node: object) -> tuple[str, str]:
    frame = suspended_frame(node)
    kind = f"task '{node.get_name()}' in" if is_task(node) else kind_name(node)
    if frame is None:
        return f"{kind.removesuffix(' in')} (finished)", f"{kind_name(node)} finished"
    key = f"{kind_name(node)} {place(frame.f_code, 0)}"
    return f"{kind} {place(frame.f_code, frame.f_lineno)}", key
