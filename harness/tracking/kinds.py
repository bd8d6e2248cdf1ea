"""What to ask an object that owns a resource: is it open, which descriptor, what is it on."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Owner = Any
"""Any object that owns a resource: asked by what it can do, never by importing its class."""


@dataclass(frozen=True)
class Kind:
    """The three questions, and the name of the kind they belong to."""

    name: str
    is_open: Callable[[Owner], bool]
    descriptor: Callable[[Owner], int | None]
    target: Callable[[Owner], str]


def _no_descriptor(_: Owner) -> None:
    return None


def _file_is_open(file: Owner) -> bool:
    """Say whether a file owns an open descriptor; a detached wrapper and `closefd=False` do not."""
    try:
        raw = getattr(file, "buffer", file)
        return not file.closed and bool(getattr(getattr(raw, "raw", raw), "closefd", True))
    except ValueError:
        return False


def _fileno(owner: Owner) -> int | None:
    try:
        number = owner.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return number if isinstance(number, int) and number >= 0 else None


def _file_target(file: Owner) -> str:
    name = file.name
    return "" if isinstance(name, int) else os.fsdecode(name)


def _socket_target(sock: Owner) -> str:
    """Return "local->peer" as lsof writes it, as much of it as the socket has."""
    ends = [_address(ask) for ask in (sock.getsockname, sock.getpeername)]
    return "->".join(end for end in ends if end)


def _address(ask: Callable[[], Owner]) -> str:
    try:
        address = ask()
    except OSError:
        return ""
    if not isinstance(address, tuple):
        return os.fsdecode(address).replace("\0", "@")
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _process_target(process: Owner) -> str:
    arguments = process.args
    if isinstance(arguments, (list, tuple)):
        arguments = " ".join(os.fsdecode(argument) for argument in arguments)
    return f"pid {process.pid}: {os.fsdecode(arguments)}"


def _process_is_open(process: Owner) -> bool:
    """Say whether a process is still to be waited for; `os.waitpid` does not tell its object."""
    if process.returncode is not None:
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _child_is_open(process: Owner) -> bool:
    popen = getattr(process, "_popen", None)
    return popen is not None and popen.returncode is None


def _executor_is_open(executor: Owner) -> bool:
    return not (
        getattr(executor, "_shutdown", False) or getattr(executor, "_shutdown_thread", False)
    )


def _selector_is_open(selector: Owner) -> bool:
    """Say whether a selector holds a descriptor: those on `poll` and `select` have none."""
    return hasattr(selector, "fileno") and selector.get_map() is not None


def _transport_descriptor(transport: Owner) -> int | None:
    for name in ("socket", "pipe"):
        owner = transport.get_extra_info(name)
        if owner is not None:
            return _fileno(owner)
    return None


def _task_target(task: Owner) -> str:
    return f"{task.get_name()}: {getattr(task.get_coro(), '__qualname__', task.get_coro())}"


def _type_name(owner: Owner) -> str:
    return type(owner).__name__


FILE = Kind("file", _file_is_open, _fileno, _file_target)
SOCKET = Kind("socket", lambda sock: sock.fileno() >= 0, _fileno, _socket_target)
CONNECTION = Kind("pipe", lambda each: not each.closed, _fileno, lambda _: "")
PROCESS = Kind("process", _process_is_open, _no_descriptor, _process_target)
CHILD = Kind("process", _child_is_open, _no_descriptor, lambda each: f"pid {each.pid}: {each.name}")
THREAD = Kind("thread", lambda each: each.is_alive(), _no_descriptor, lambda each: each.name)
EXECUTOR = Kind("executor", _executor_is_open, _no_descriptor, _type_name)
TASK = Kind("task", lambda each: not each.done(), _no_descriptor, _task_target)
TRANSPORT = Kind("transport", lambda each: not each.is_closing(), _transport_descriptor, _type_name)
SELECTOR = Kind("selector", _selector_is_open, _fileno, _type_name)
MMAP = Kind("mmap", lambda each: not each.closed, _no_descriptor, lambda each: f"{len(each)} bytes")
