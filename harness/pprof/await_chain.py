"""The chain of coroutines from a task down to what it waits for, across other tasks.

Nothing here reads `f_locals`: before Python 3.13 that would keep every local variable of the frame
alive, and the observer would be the leak. What a suspended coroutine refers to is asked of `gc`.
"""

import asyncio
import gc
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CellType,
    CodeType,
    CoroutineType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    NoneType,
)
from typing import Any

from harness.instances import attribute, is_a, kind_name
from harness.pprof.profile import Stack
from harness.probes.tasks import AnyTask

_NEXT = ("cr_await", "gi_yieldfrom", "ag_await")
_FRAME = ("cr_frame", "gi_frame", "ag_frame")
_SUSPENDED = (CoroutineType, GeneratorType, AsyncGeneratorType)
_WRAPPERS = {
    "async_generator_asend",
    "async_generator_athrow",
    "coroutine_wrapper",
    "anext_awaitable",
}
_HOLDS_SOCKET = ("_transport", "transport", "_sock", "_listener", "_protocol")
_HOLDS_TASKS = ("_tasks", "_todo", "_children")
_WAIT_FOR_TASKS = ("asyncio.tasks.", "asyncio.taskgroups.")
_CALLS_TO_SEARCH = 3
_CHAIN_MAX = 1000
_PLAIN = (str, bytes, int, float, bool, NoneType, dict, list, tuple, set, type)
_CODE = (CodeType, FrameType, FunctionType, MethodType, BuiltinFunctionType, CellType, *_SUSPENDED)
_NO_SOCKET = frozenset(map(id, (*_PLAIN, *_CODE, asyncio.Future, asyncio.Task, asyncio.Event)))
"""Types that most references of a coroutine are of, and that need no second look; by identity, for
a class need not be hashable."""


def coroutines(task: AnyTask) -> list[Any]:
    """Return what `task` runs, outermost first: coroutines, generators, async generators."""
    found: list[Any] = []
    thing: Any = task.get_coro()
    while thing is not None and len(found) < _CHAIN_MAX:
        if type(thing) is CoroutineType:  # nearly all are: ten thousand tasks must not take long
            found.append(thing)
            thing = thing.cr_await
            continue
        if frame_of(thing) is not None:
            found.append(thing)
        thing = _awaited(thing)
    return found


def frame_of(thing: Any) -> FrameType | None:  # noqa: ANN401 - any awaitable, Cython's too
    """Return the frame of a coroutine or generator that has not ended, `None` for all else."""
    if type(thing) is CoroutineType:
        return thing.cr_frame
    for name in _FRAME:
        frame = getattr(thing, name, None)
        if isinstance(frame, FrameType):
            return frame
    return None


def _awaited(thing: Any) -> object:  # noqa: ANN401
    for name in _NEXT:
        if hasattr(thing, name):
            return getattr(thing, name)
    if kind_name(thing) in _WRAPPERS:
        return next((ref for ref in gc.get_referents(thing) if _is_awaitable(ref)), None)
    return None


def _is_awaitable(thing: object) -> bool:
    return is_a(thing, *_SUSPENDED) or kind_name(thing) in _WRAPPERS


def waited_for(task: AnyTask, chain: list[Any], search: bool) -> tuple[str, list[AnyTask]]:
    """Return the tasks that must move before `task` does, and by which function it waits for them.

    The function is empty where the chain shows it already (or where a task is awaited directly).
    Without `search` the variables of the innermost calls are not looked at: none of them waits
    for tasks (`waits_for_tasks`).
    """
    future = getattr(task, "_fut_waiter", None)
    if is_a(future, asyncio.Task):
        return "", [future]
    if children := getattr(future, "_children", None):
        return "asyncio.gather", _pending(children)
    if inner := _shielded(future):
        return "asyncio.shield", _pending([inner])
    return "", _tasks_in(chain[-_CALLS_TO_SEARCH:]) if search else []


def waits_for_tasks(stack: Stack) -> bool:
    """Tell whether one of the innermost calls is a function of asyncio that waits for tasks."""
    return any(frame.function.startswith(_WAIT_FOR_TASKS) for frame in stack[:_CALLS_TO_SEARCH])


def _shielded(future: object) -> object:
    """Return what `asyncio.shield` protects: its callback's closure is all that knows."""
    for callback, *_ in getattr(future, "_callbacks", None) or ():
        if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
            cells = dict(zip(callback.__code__.co_freevars, callback.__closure__, strict=True))
            return cells["inner"].cell_contents
    return None


def _tasks_in(chain: list[Any]) -> list[AnyTask]:
    """Return the tasks that `wait_for`, `wait`, `as_completed` or a TaskGroup wait for."""
    for coroutine in reversed(chain):
        found = {task for held in _waiting_sets(coroutine) for task in _pending(_members(held))}
        if found:
            return sorted(found, key=lambda task: (len(task.get_name()), task.get_name()))
    return []


def _waiting_sets(coroutine: Any) -> list[object]:  # noqa: ANN401
    """Return what may hold such tasks: the variables of asyncio's functions, and no others.

    Until Python 3.12 `as_completed` is a generator that its caller runs through.
    """
    frame = frame_of(coroutine)
    if frame and f"{frame.f_globals.get('__name__')}.".startswith(_WAIT_FOR_TASKS):
        return gc.get_referents(coroutine)
    generators = (each for each in gc.get_referents(coroutine) if type(each) is GeneratorType)
    through = (each for each in generators if each.__name__ == "as_completed")
    return [each for generator in through for each in gc.get_referents(generator)]


def _members(thing: object) -> Iterable[object]:
    if is_a(thing, CellType):
        thing = _content(thing)
    if is_a(thing, asyncio.Task):
        return [thing]
    if is_a(thing, set, list, tuple):
        return list(thing)
    held = (attribute(thing, name) for name in _HOLDS_TASKS)
    return list(next((each for each in held if is_a(each, set)), ()))


def _content(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # the variable has no value yet
        return None


def _pending(things: Iterable[object]) -> list[AnyTask]:
    return [thing for thing in things if is_a(thing, asyncio.Task) and not thing.done()]


def socket_of(chain: list[Any]) -> str:
    """Return the connection that the innermost coroutines of `chain` work on, or nothing.

    It reads `tcp 127.0.0.1:52342 -> 127.0.0.1:8080 (fd 9)`.
    """
    for coroutine in reversed(chain[-_CALLS_TO_SEARCH:]):
        for thing in filter(_may_hold_socket, gc.get_referents(coroutine)):
            for candidate in (thing, *_parts(thing)):
                if described := _described(candidate):
                    return described
    return ""


def _may_hold_socket(thing: object) -> bool:
    """Leave out what most references are, and how a future is awaited, in every waiting task."""
    return id(type(thing)) not in _NO_SOCKET and kind_name(thing) != "FutureIter"


def _parts(thing: object) -> Iterator[object]:
    """Yield the transport, socket or protocol of `thing`, and the protocol's transport."""
    if is_a(thing, type, asyncio.AbstractEventLoop, asyncio.Future):
        return
    for name in _HOLDS_SOCKET:
        part = attribute(thing, name)
        if part is not None:
            yield part
            if name == "_protocol":
                yield attribute(part, "transport")


def _described(thing: object) -> str:
    if is_a(thing, asyncio.BaseTransport):
        if thing.is_closing():
            return ""
        known = thing.get_extra_info
        return _connection(known("socket"), known("sockname"), known("peername"))
    if is_a(thing, socket.socket):
        with suppress(OSError):  # closed, maybe by another thread just now
            return _connection(thing, *_ends(thing))
    return ""


def _ends(sock: socket.socket) -> tuple[object, object]:
    own = sock.getsockname()
    try:
        return own, sock.getpeername()
    except OSError:  # not connected: it listens, or is being set up
        return own, None


def _connection(sock: Any, own: object, peer: object) -> str:  # noqa: ANN401
    if sock is None:
        return ""
    internet = sock.family in (socket.AF_INET, socket.AF_INET6)
    ends = f"{address(own)} -> {address(peer)}" if peer else address(own)
    return f"{'tcp' if internet else 'unix'} {ends} (fd {sock.fileno()})".replace("  ", " ")


def address(end: object) -> str:
    """Return one end of a connection as `host:port`, the path of a Unix socket, or as it is."""
    match end:
        case (str() as host, int() as port, *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case bytes():
            return end.decode(errors="replace")
    return str(end or "")
