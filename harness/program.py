"""Runs somebody's script or module as `python script.py` and `python -m module` would."""

import importlib.util
import io
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from harness.errors import UsageError

_OURS = (__file__, str(Path(__file__).parent / "tracking") + os.sep)

_AT_START = {
    "abc", "codecs", "genericpath", "io", "ntpath", "os", "posixpath", "site", "sitecustomize",
    "stat", "types", "warnings",
}  # fmt: skip
"""Modules that an interpreter imports as it starts, from the standard library's source."""


@dataclass(frozen=True)
class Program:
    """A script's path (a folder's or zip file's too), or a module's name, and its arguments."""

    name: str
    arguments: tuple[str, ...]
    is_module: bool

    def prepare(self) -> "Prepared":
        """Set `sys.argv` and `sys.path` and find the code.

        Raises:
            UsageError: there is no such script or module.
        """
        return self._prepare_module() if self.is_module else self._prepare_script()

    def _prepare_script(self) -> "Prepared":
        path = Path(self.name).absolute()
        sys.argv = [self.name, *self.arguments]
        if importer := pkgutil.get_importer(str(path)):
            return self._prepare_inside(path, importer.find_spec("__main__"))
        if not path.exists():
            raise UsageError(f"{self.name}: no such file; give a script, or -m and a module")
        _set_first_path(str(path.resolve().parent))
        with io.open_code(str(path)) as file:
            source = file.read()
        code = _compiled(lambda: compile(source, str(path), "exec", dont_inherit=True))
        return Prepared(str(path), None, code)

    def _prepare_inside(self, path: Path, spec: ModuleSpec | None) -> "Prepared":
        """Find the `__main__.py` of a folder or a zip file, as `python folder` would run it."""
        if spec is None:
            raise UsageError(f"{self.name}: no __main__.py in it; give a script")
        _set_first_path(str(path))
        return _prepared(spec)

    def _prepare_module(self) -> "Prepared":
        sys.argv = ["-m", *self.arguments]
        _set_first_path(str(Path.cwd()))
        spec = _find_main(self.name)
        sys.argv[0] = str(spec.origin)
        return _prepared(spec)


def _prepared(spec: ModuleSpec) -> "Prepared":
    loader: Any = spec.loader
    return Prepared(str(spec.origin), spec, _compiled(lambda: loader.get_code(spec.name)))


def _set_first_path(folder: str) -> None:
    """Put the folder first where Python put that of this command, unless told not to (-P).

    A module of the program's may have the name of one that this instrument has imported: Python
    alone would not have, but for those that it starts with.
    """
    if sys.flags.safe_path:
        return
    sys.path[0] = folder
    own = {path.stem for path in Path(folder).glob("*.py")} if Path(folder).is_dir() else set()
    for name in own & sys.stdlib_module_names - _AT_START:
        sys.modules.pop(name, None)


def _compiled(compiled: Callable[[], CodeType]) -> CodeType:
    """Compile; what is wrong with the program's syntax is shown as Python shows it."""
    try:
        return compiled()
    except (SyntaxError, ValueError) as error:
        sys.excepthook(type(error), error.with_traceback(None), None)
        raise SystemExit(1) from None


def _find_main(name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except Exception as error:
        if _says_it_is_not_there(error, name):
            raise UsageError(f"-m {name}: {error}") from error
        _show(error)
        raise SystemExit(1) from None
    if spec is None or spec.loader is None or not hasattr(spec.loader, "get_code"):
        raise UsageError(f"-m {name}: no such module, or a package without __main__")
    return spec


def _says_it_is_not_there(error: Exception, name: str) -> bool:
    """Tell a module that is not there, or a part of its name, from an error of its package's code.

    `find_spec` raises a ValueError where a module has no spec.
    """
    if isinstance(error, ImportError):
        return bool(error.name) and f"{name}.".startswith(f"{error.name}.")
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    in_code = last.tb_frame.f_code.co_filename if last is not None else ""
    return isinstance(error, ValueError) and in_code.startswith("<frozen importlib")


@dataclass(frozen=True)
class Prepared:
    """A program that can start: where it is, its spec when it is a module, and its code."""

    path: str
    spec: ModuleSpec | None
    code: CodeType

    def run(self) -> int:
        """Run it as `__main__` and return its exit status; `SystemExit` passes through.

        An exception is shown by `sys.excepthook` without the frames of this instrument.
        """
        main = self._main_module()
        sys.modules["__main__"] = main
        try:
            exec(self.code, main.__dict__)
            return 0
        except SystemExit:
            raise
        except BaseException as raised:  # noqa: BLE001  the interpreter's own last resort
            error = raised
        _show(error)  # not while it is handled: what its hook raises has no other context
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1

    def _main_module(self) -> ModuleType:
        main = ModuleType("__main__")
        main.__dict__.update(
            __file__=self.path,
            __builtins__=sys.modules["builtins"],
            __annotations__={},
            __cached__=self.spec and self.spec.cached,
        )
        if self.spec is not None:
            main.__spec__, main.__loader__ = self.spec, self.spec.loader
            main.__package__ = self.spec.parent
        else:
            main.__package__ = None
            main.__loader__ = SourceFileLoader("__main__", self.path)
        return main


def _show(error: BaseException) -> None:
    """Show an exception that the program did not catch, without the frames of this instrument."""
    clean(error)
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit:
        raise
    except BaseException as broken:  # noqa: BLE001  a hook may raise anything, and may be gone
        clean(broken)
        _tell("Error in sys.excepthook:", broken)
        _tell("\nOriginal exception was:", error)


def _tell(title: str, error: BaseException) -> None:
    """Show an exception below a title, as Python does for a broken hook."""
    if sys.stderr is not None:
        sys.stderr.write(f"{title}\n")
    sys.__excepthook__(type(error), error, error.__traceback__)


def clean(error: BaseException | None) -> None:
    """Take our frames out of an exception's traceback, of those it came from and of a group's."""
    seen: set[int] = set()
    left = [error]
    while left:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        kept = _without_ours(error.__traceback__)
        BaseException.with_traceback(error, kept)  # past a __setattr__ of its class
        left += [error.__cause__, error.__context__]
        left += error.exceptions if isinstance(error, BaseExceptionGroup) else []


def _without_ours(traceback: TracebackType | None) -> TracebackType | None:
    kept = []
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_OURS):
            kept.append(traceback)
        traceback = traceback.tb_next
    following = None
    for each in reversed(kept):
        each.tb_next = following
        following = each
    return following


def parse(words: Sequence[str], is_module: bool) -> Program:
    """Return the program that the rest of a command line names.

    Raises:
        UsageError: it names none.
    """
    if not words or not words[0]:
        raise UsageError("nothing to run: give a script, or -m and a module")
    return Program(words[0], tuple(words[1:]), is_module)
