"""Which functions and methods open something, and what to note when they have."""

import builtins
import os
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from harness.tracking import kinds
from harness.tracking.descriptors import identify
from harness.tracking.kinds import Kind
from harness.tracking.ledger import Ledger
from harness.tracking.patching import Patcher, genuine, stand_in, stand_in_type

Call = Callable[..., Any]
Note = Callable[[Any, Any, FrameType], None]
Failed = Callable[[OSError], None]

DESCRIPTOR_CALLS = (
    "open", "dup", "dup2", "pipe", "pipe2", "openpty", "memfd_create", "eventfd",
    "timerfd_create", "pidfd_open", "posix_openpt",
)  # fmt: skip

PLUMBING = "multiprocessing/resource_tracker.py", "multiprocessing/forkserver.py"
"""One of each serves a process for as long as it lives; no program can close what is theirs."""


class Hooks:
    """Patches everything that opens a resource so that `ledger` learns of it.

    `failed` is called with each `OSError` that such a call raises, which is then raised on. What
    has been opened is the program's: that we could not note it must not keep it from there.
    """

    def __init__(self, ledger: Ledger, failed: Failed) -> None:
        self._ledger = ledger
        self._failed = failed
        self._patcher = Patcher()

    def install(self) -> None:
        """Patch what is imported now, and the rest when it is imported."""
        names = [name for name in DESCRIPTOR_CALLS if hasattr(os, name)]
        calls = [genuine(getattr(os, name)) for name in names]
        opens, scans = genuine(builtins.open), genuine(os.scandir)
        pairs = [(call, self._numbers(call)) for call in calls]
        pairs += [(opens, self._files(opens)), (scans, self._directories(scans))]
        self._patcher.install(pairs)
        self._patcher.method(threading.Thread, "start", self._threads)
        for name, apply in self._later().items():
            self._patcher.when_imported(name, apply)

    def remove(self) -> None:
        """Put every patched name back."""
        self._patcher.remove()

    def _later(self) -> dict[str, Callable[[ModuleType], None]]:
        return {
            "socket": self._socket,
            "subprocess": lambda m: self._constructed(m.Popen, kinds.PROCESS),
            "multiprocessing.process": self._multiprocessing,
            "multiprocessing.connection": lambda m: self._constructed(
                m._ConnectionBase, kinds.CONNECTION
            ),
            "multiprocessing.shared_memory": self._shared_memory,
            "concurrent.futures.thread": self._thread_pool,
            "concurrent.futures.process": lambda m: self._constructed(
                m.ProcessPoolExecutor, kinds.EXECUTOR
            ),
            "select": self._select,
            "selectors": lambda m: self._constructed(m._BaseSelectorImpl, kinds.SELECTOR),
            "mmap": self._mmap,
            "sqlite3": self._sqlite,
            "asyncio.base_events": self._event_loop,
            "asyncio.transports": lambda m: self._constructed(m.BaseTransport, kinds.TRANSPORT),
        }

    def _files(self, real: Call) -> object:
        own, failed, frame, kind = self._ledger.own, self._failed, sys._getframe, kinds.FILE

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            try:
                file = real(*args, **kwargs)
            except OSError as error:
                failed(error)
                raise
            try:  # noqa: SIM105  `suppress` takes longer, and this is the hot path
                own(file, kind, frame(1))
            except Exception:  # noqa: BLE001, S110
                pass
            return file

        return stand_in(real, call)

    def _noting(self, real: Call, note: Note, name: str = "") -> Call:
        """Return `real` with `note(result, argument, frame)` after it: the first, or `name`d."""
        failed, frame = self._failed, sys._getframe

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            try:
                opened = real(*args, **kwargs)
            except OSError as error:
                failed(error)
                raise
            with suppress(Exception):
                note(opened, args[0] if args else kwargs.get(name), frame(1))
            return opened

        return call

    def _numbers(self, real: Call) -> object:
        def note(opened: Any, _: object, frame: FrameType) -> None:  # noqa: ANN401
            is_plumbing = frame.f_code.co_filename.endswith(PLUMBING)
            with self._ledger.on_behalf_of(None, watched=False) if is_plumbing else nullcontext():
                origin = self._ledger.origin(frame)  # of both ends of a pipe
                for each in opened if isinstance(opened, tuple) else (opened,):
                    self._ledger.number(each, origin)

        return stand_in(real, self._noting(real, note))

    def _directories(self, real: Call) -> object:
        def note(_: object, path: Any, frame: FrameType) -> None:  # noqa: ANN401
            self._ledger.without_reference(("directory", 0, path or "."), frame)

        return stand_in(real, self._noting(real, note, "path"))

    def _threads(self, real: Call) -> Call:
        def start(thread: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            frame = sys._getframe(1)
            with suppress(Exception):
                self._ledger.thread_starts(thread, frame)
            real(thread, *args, **kwargs)
            with suppress(Exception):
                self._ledger.own(thread, kinds.THREAD, frame)

        return start

    def _constructed(self, owner: type, kind: Kind) -> None:
        """Note each construction of `owner` or a subclass, at its end."""

        def make(real: Call) -> Call:
            def __init__(each: Any, /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
                try:
                    real(each, *args, **kwargs)
                except OSError as error:
                    self._failed(error)
                    raise
                with suppress(Exception):
                    self._ledger.own(each, kind, sys._getframe(1))

            return __init__

        self._patcher.method(owner, "__init__", make)

    def _socket(self, module: ModuleType) -> None:
        self._constructed(module.socket, kinds.SOCKET)
        self._patcher.method(module.socket, "detach", self._detached)
        self._patcher.method(module.socket, "accept", self._raising)

    def _detached(self, real: Call) -> Call:
        def detach(sock: Any) -> Any:  # noqa: ANN401
            number = real(sock)
            with suppress(Exception):
                self._ledger.number(number, self._ledger.origin(sys._getframe(1)))
            return number

        return detach

    def _raising(self, real: Call) -> Call:
        """Accepting makes a socket, which is noted as such; only its errors are new."""
        return self._noting(real, lambda *_: None)

    def _multiprocessing(self, module: ModuleType) -> None:
        def make(real: Call) -> Call:
            def start(process: Any) -> None:  # noqa: ANN401
                real(process)
                with suppress(Exception):
                    self._ledger.own(process, kinds.CHILD, sys._getframe(1))

            return start

        self._patcher.method(module.BaseProcess, "start", make)

    def _shared_memory(self, module: ModuleType) -> None:
        posix = getattr(module, "_posixshmem", None)
        if posix is not None:
            real = genuine(posix.shm_open)
            self._patcher.swap([(real, self._numbers(real))])

    def _thread_pool(self, module: ModuleType) -> None:
        self._constructed(module.ThreadPoolExecutor, kinds.EXECUTOR)
        self._patcher.method(module._WorkItem, "__init__", self._work_made)
        self._patcher.method(module._WorkItem, "run", self._work_run)

    def _work_made(self, real: Call) -> Call:
        def __init__(item: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            real(item, *args, **kwargs)
            with suppress(Exception):
                item.creation = self._ledger.creation(sys._getframe(1))

        return __init__

    def _work_run(self, real: Call) -> Call:
        def run(item: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            with self._ledger.on_behalf_of(getattr(item, "creation", None)):
                real(item, *args, **kwargs)

        return run

    def _select(self, module: ModuleType) -> None:
        for name in ("epoll", "kqueue"):
            owner = getattr(module, name, None)
            if owner is not None:
                self._patcher.method(owner, "__init__", self._polling)

    def _polling(self, real: Call) -> Call:
        def __init__(poll: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG001
            with suppress(Exception):
                self._ledger.number(poll.fileno(), self._ledger.origin(sys._getframe(1)))

        return __init__

    def _mmap(self, module: ModuleType) -> None:
        real = genuine(module.mmap)
        if not isinstance(real, type):  # the program's own stand-in, a mock
            return

        def note(mapped: object, number: Any, frame: FrameType) -> None:  # noqa: ANN401
            self._ledger.own(mapped, kinds.MMAP, frame.f_back or frame, identify(number))

        call = self._noting(real, note, "fileno")
        self._patcher.swap([(real, stand_in_type(real, call))])

    def _sqlite(self, module: ModuleType) -> None:
        real = genuine(module.connect)

        def note(connection: object, database: object, frame: FrameType) -> None:
            key = ("sqlite3", id(connection), _database_path(database))
            self._ledger.without_reference(key, frame)

        call = self._noting(real, note, "database")
        self._patcher.swap([(real, stand_in(real, call))])

    def _event_loop(self, module: ModuleType) -> None:
        def make(real: Call) -> Call:
            def create_task(loop: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
                task = real(loop, *args, **kwargs)
                if source := getattr(task, "_source_traceback", None):
                    del source[-1]  # debug mode shows the creating line: not ours
                with suppress(Exception):
                    self._ledger.task_created(task, kinds.TASK, sys._getframe(1))
                return task

            return create_task

        self._patcher.method(module.BaseEventLoop, "create_task", make)


def _database_path(database: object) -> str:
    """Return the absolute path of a database given as a path or a `file:` URI."""
    name = os.fsdecode(database) if isinstance(database, (str, bytes, os.PathLike)) else ""
    name = name.removeprefix("file:").partition("?")[0] if name.startswith("file:") else name
    return str(Path(name).resolve()) if name and not name.startswith(":") else ""
