"""Finds the callable that `package.module:function` or `path/file.py:function` names."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from harness.errors import UsageError

FORMS = "give package.module:function or path/file.py:function"


def load(target: str) -> Callable[[], object]:
    """Import the module or file and return the callable, which must need no arguments.

    Raises:
        UsageError: nothing of that name, the import failed, or the callable wants arguments.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"{target}: names no function; {FORMS}")
    module = _module_at(where)
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UsageError(f"{target}: {where} has no callable {name!r}; {FORMS}")
    _needs_no_arguments(found, target)
    return found


def _module_at(where: str) -> ModuleType:
    is_file = where.endswith(".py")
    if is_file and not Path(where).is_file():
        raise UsageError(f"{where}: no such file; {FORMS}")
    try:
        return _imported(Path(where).resolve()) if is_file else importlib.import_module(where)
    except BaseException as error:  # SystemExit too
        reason = "".join(traceback.format_exception_only(error)).strip()
        raise UsageError(f"{where}: could not be imported: {reason}") from error


def _imported(path: Path) -> ModuleType:
    name, root = _dotted(path)
    sys.path.insert(0, str(root))
    if "." not in path.stem:
        module = importlib.import_module(name)
        if module.__file__ and Path(module.__file__).resolve() == path:
            return module
    return _as_module(path)


def _as_module(path: Path) -> ModuleType:
    """Load a file that `import` cannot reach: a dot is in its name, or another module has it."""
    name = path.stem.replace(".", "_") + "_"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader, f"{path} ends with .py"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _dotted(path: Path) -> tuple[str, Path]:
    """Return a file's module name, with the packages it lies in, and the folder to import from."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder


def _needs_no_arguments(found: Callable[..., object], target: str) -> None:
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        message = f"{target}: cannot be called without arguments ({error}); wrap it in a function"
        raise UsageError(message) from error
    except ValueError:
        return  # written in C without a signature: calling it will tell
