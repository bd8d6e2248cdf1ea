"""The learner's own copy of a leaky twin, `workbook/NAME.py`: loaded, and refused in a sentence."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from .errors import UsageError
from .paths import relative
from .report import place

WORKBOOK = Path("workbook")
"""Where the copies are, below the current folder."""

Parameters = list[inspect.Parameter]


def path_of(name: str) -> Path:
    """Return where the copy for lab `name` is."""
    return WORKBOOK / f"{name}.py"


def load(path: Path, original: ModuleType) -> ModuleType:
    """Return the module at `path`, a copy of `original` that offers what its callers use.

    Raises:
        UsageError: it is not there, cannot be imported, or misses a public name or parameter.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file; make it with: python -m labs start {path.stem}")
    module = _imported(path)
    problem = next(_differences(module, original), None)
    if problem:
        raise UsageError(f"{relative(str(path))}: {problem}")
    return module


def _imported(path: Path) -> ModuleType:
    name = f"workbook.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file; its name must end in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UsageError(_misspelled(error, path)) from None
    except Exception as error:  # noqa: BLE001 - a module may raise anything
        reason = "".join(traceback.format_exception_only(error)).strip()
        raise UsageError(f"{where(error, path)}: cannot be imported: {reason}") from None
    return module


def _misspelled(error: SyntaxError, path: Path) -> str:
    """Say where the file at `path` is no Python, as far as Python tells."""
    at = f":{error.lineno}" if error.lineno else ""
    line = f": {error.text.strip()}" if error.text else ""
    return f"{relative(str(path))}{at}: {error.msg}{line}"


def where(error: BaseException, path: Path) -> str:
    """Return the innermost line of the file at `path` in an error's traceback, or the file."""
    file = str(path.resolve())
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    if not frames:
        return relative(str(path))
    last = frames[-1]
    return place((last.filename, last.lineno or 0, last.name))


def _differences(module: ModuleType, original: ModuleType) -> Iterator[str]:
    """Yield a sentence for each thing that callers of `original` would miss in `module`."""
    for name, wanted in _public(original):
        found = getattr(module, name, None)
        if found is None:
            yield f"{name} is missing, and its callers need it; bring it back"
            continue
        yield from _differs(name, found, wanted)
        if not inspect.isclass(wanted):
            continue
        for method, wanted_method in _methods(wanted):
            full = f"{name}.{method}"
            if not callable(found_method := getattr(found, method, None)):
                yield f"{full} is missing, and its callers need it; bring it back"
            else:
                yield from _differs(full, found_method, wanted_method)


def _public(module: ModuleType) -> Iterator[tuple[str, Callable[..., object]]]:
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and callable(value) and not name.startswith("_"):
            yield name, value


def _methods(owner: type) -> Iterator[tuple[str, Callable[..., object]]]:
    for name, value in vars(owner).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            yield name, value


def _differs(name: str, found: object, wanted: Callable[..., object]) -> Iterator[str]:
    """Yield why `found` cannot be called as `wanted` is."""
    if not callable(found):
        yield f"{name} is a {type(found).__name__} now, and its callers call it"
        return
    if inspect.iscoroutinefunction(found) != inspect.iscoroutinefunction(wanted):
        which = "async def" if inspect.iscoroutinefunction(wanted) else "def, not async"
        yield f"{name}: its callers need it to be {which}"
    taken, passed = _parameters(found), _parameters(wanted)
    if taken is not None and passed is not None and not _takes(taken, passed):
        yield (
            f"{name}{inspect.signature(found)}: its callers pass "
            f"{', '.join(each.name for each in passed) or 'nothing'}; "
            "keep the parameters as they were"
        )


def _parameters(function: Callable[..., object]) -> Parameters | None:
    """Return what `function` takes; `None`: a built-in constructor, which exceptions inherit."""
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:
        return None


def _takes(found: Parameters, wanted: Parameters) -> bool:
    """Tell whether parameters are the wanted ones; what was added must have a default."""
    kept, added = found[: len(wanted)], found[len(wanted) :]
    same = [_shape(each) for each in kept] == [_shape(each) for each in wanted]
    return same and all(each.default is not each.empty or _is_rest(each) for each in added)


def _shape(parameter: inspect.Parameter) -> tuple[str, object, bool]:
    return parameter.name, parameter.kind, parameter.default is parameter.empty


def _is_rest(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
