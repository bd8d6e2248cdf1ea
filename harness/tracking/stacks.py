"""Call stacks that are cheap to take and resolved only when somebody reads them.

A raw stack is one flat list, `[code, offset, code, offset, …]`, innermost frame first: it keeps
no frame alive, and so no local variable of the program.
"""

import functools
import os
import site
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

RawStack = list[Any]
"""Code objects and instruction offsets in turn; `CREATED_BY` parts a stack from its creator's."""

Frame = tuple[str, int, str]
"""File, line, function."""

CREATED_BY: Any = None
USER_DEPTH = 12
LIBRARY_DEPTH = 64
ORIGIN_LENGTH = 4 * LIBRARY_DEPTH
GENERATED = "<frozen", "<string>"
"""Code without a file: the import system's, and what `exec`, dataclasses and our children run."""
BOUNDARIES = {
    ("asyncio/events.py", "_run"),
    ("threading.py", "_bootstrap_inner"),
    ("harness/program.py", "run"),
}
"""File and function that run somebody else's code: what is below them is not its caller."""


def prepare() -> None:
    """Find out where the library lies, before any hook needs it: finding out opens files."""
    is_library("")


def capture(frame: FrameType) -> RawStack:
    """Return the raw stack from `frame` outwards: 12 frames, or 64 below a library's frame."""
    if _is_library[frame.f_code.co_filename]:
        return _walk(frame, LIBRARY_DEPTH)
    try:
        return _walk_twelve(frame)
    except AttributeError:  # there are fewer
        return _walk(frame, USER_DEPTH)


def _walk(frame: FrameType, depth: int) -> RawStack:
    stack: RawStack = []
    outer: FrameType | None = frame
    while outer is not None and len(stack) < 2 * depth:
        stack.append(outer.f_code)
        stack.append(outer.f_lasti)
        outer = outer.f_back
    return stack


def _walk_twelve(a: Any) -> RawStack:  # noqa: ANN401 - the outermost has no caller
    """Return the stack of USER_DEPTH frames: a loop over them would be half of a tracker's cost."""
    return [
        a.f_code, a.f_lasti,
        (b := a.f_back).f_code, b.f_lasti,
        (c := b.f_back).f_code, c.f_lasti,
        (d := c.f_back).f_code, d.f_lasti,
        (e := d.f_back).f_code, e.f_lasti,
        (f := e.f_back).f_code, f.f_lasti,
        (g := f.f_back).f_code, g.f_lasti,
        (h := g.f_back).f_code, h.f_lasti,
        (i := h.f_back).f_code, i.f_lasti,
        (j := i.f_back).f_code, j.f_lasti,
        (k := j.f_back).f_code, k.f_lasti,
        (m := k.f_back).f_code, m.f_lasti,
    ]  # fmt: skip


def joined(stack: RawStack, creator: RawStack | None) -> RawStack:
    """Return `stack` followed by its creator's, bounded so that chains of tasks stay small."""
    return [*stack, CREATED_BY, 0, *creator[:ORIGIN_LENGTH]] if creator else stack


class Resolver:
    """Resolves raw stacks, each different one once: thousands of leaks have a handful.

    To be used while the stacks are alive, in one listing: it knows code objects by their `id`.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], tuple[tuple[Frame, ...], str]] = {}

    def __call__(
        self, stack: RawStack, creator: RawStack | None = None
    ) -> tuple[tuple[Frame, ...], str]:
        """Return what `resolve` does."""
        whole = joined(stack, creator)
        key = (*map(id, whole[::2]), *whole[1::2])
        if key not in self._known:
            self._known[key] = resolve(whole)
        return self._known[key]


def resolve(stack: RawStack) -> tuple[tuple[Frame, ...], str]:
    """Return (frames, via) of a raw stack, its creators' joined to it.

    `frames` are the user's, innermost first; where there are none, all but the tracker's own.
    `via` is the library function through which the user's line came to open something, or "".
    """
    parts = list(_parts(stack))
    frames = _flat(map(_above_boundary, parts))
    if all(is_library(file) for file, _, _ in frames):
        frames = _flat(parts)
    users = tuple(frame for frame in frames if not is_library(frame[0]))
    if not users or users[0] == frames[0]:
        return users or tuple(frames), ""
    file, _, function = frames[frames.index(users[0]) - 1]
    return users, f"{_module(file)}.{function.removesuffix('.__init__')}"


def _module(file: str) -> str:
    """Name a module by its file: "tempfile", "logging" for logging/__init__.py, "os" if frozen."""
    path = Path(file.removeprefix("<frozen ").removesuffix(">") if "frozen" in file else file)
    is_private = path.name.startswith("_")  # `__init__`, `httpx._client`, `pathlib._local`
    return path.parent.name if is_private else path.stem


def _flat(parts: Iterable[list[Frame]]) -> list[Frame]:
    return [frame for part in parts for frame in part if not _is_tool(frame[0])]


def _parts(stack: RawStack) -> Iterator[list[Frame]]:
    part: list[Frame] = []
    for code, offset in zip(stack[::2], stack[1::2], strict=True):
        if code is CREATED_BY:
            yield part
            part = []
        else:
            part.append((code.co_filename, _line(code, offset), code.co_qualname))
    yield part


def _above_boundary(part: list[Frame]) -> list[Frame]:
    """Cut at the event loop or thread bootstrap: below it runs the loop, not the creator."""
    for index, (file, _, function) in enumerate(part):
        for tail, name in BOUNDARIES:
            if file.endswith(tail) and function.rpartition(".")[2] == name:
                return part[:index]
    return part


def _line(code: CodeType, offset: int) -> int:
    """Return the line of an instruction offset (`code.co_lines`, PEP 626)."""
    for start, end, line in code.co_lines():
        if start <= offset < end and line is not None:
            return line
    return code.co_firstlineno


class _Libraries(dict[str, bool]):
    """Answers by file name; a plain subscript once it is known."""

    def __missing__(self, file: str) -> bool:
        self[file] = file.startswith((*_library_prefixes(), *GENERATED))
        return self[file]


_is_library = _Libraries()


def is_library(file: str) -> bool:
    """Say whether a source file is the standard library's, an installed package's or ours."""
    return _is_library[file]


@functools.cache
def _is_tool(file: str) -> bool:
    return file.startswith(_tool_prefix())


@functools.cache
def _tool_prefix() -> str:
    return str(Path(__file__).resolve().parents[1]) + "/"


@functools.cache
def _library_prefixes() -> tuple[str, ...]:
    paths = [str(Path(os.__file__).parent), *site.getsitepackages(), site.getusersitepackages()]
    scripts = [f"{prefix}/bin" for prefix in (sys.prefix, sys.base_prefix)]  # pytest's, say
    folders = {path.rstrip("/") + "/" for path in (*paths, *scripts)}
    return (*folders, _tool_prefix(), sys.prefix + "/lib/")
