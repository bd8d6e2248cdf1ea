"""Which lines allocate memory that is never freed, by Python's own allocation trace."""

import ast
import gc
import linecache
import tracemalloc
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.findings import Frame, Leak
from harness.instances import referents
from harness.tracking.stacks import is_library
from harness.verdict_growth import Growth, Trend, judge_growth

FRAMES = 6
LEAST_BLOCKS_PER_CALL = 0.1
MOST_LINES = 5
_INSTRUMENT = str(Path(__file__).resolve().parent) + "/"
ASKED_AT_MOST = 1000  # objects of a leaking line whose holders are looked for


class MemoryTrace:
    """Traces allocations within a `with`, and judges by line what `note` counted."""

    def __init__(self) -> None:
        self._noted: list[dict[tracemalloc.Traceback, tuple[int, int]]] = []

    def __enter__(self) -> Self:
        tracemalloc.start(FRAMES)
        self.note()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tracemalloc.stop()

    def note(self) -> None:
        """Note how many blocks and bytes are allocated now, by the program's stack."""
        snapshot = tracemalloc.take_snapshot()
        self._noted.append(
            {each.traceback: (each.count, each.size) for each in snapshot.statistics("traceback")}
        )

    def leaks(self, calls_per_round: int) -> tuple[Leak, ...]:
        """Return what grew in every round by at least a block in ten calls, and end the tracing.

        The largest come first; `count` and `growth_per_call` are in bytes.
        """
        sizes = {
            traceback: size
            for traceback in self._noted[-1]
            if (size := self._growth(traceback, calls_per_round)) is not None
        }
        largest = sorted(sizes, key=lambda traceback: -sizes[traceback].count)[:MOST_LINES]
        gc.unfreeze()  # who holds what leaks may have been frozen
        made = _objects([traceback[-1] for traceback in largest])
        tracemalloc.stop()  # the search for holders would be traced, which takes ten times as long
        return tuple(
            _leak(traceback, sizes[traceback], made[traceback[-1]]) for traceback in largest
        )

    def _growth(self, traceback: tracemalloc.Traceback, calls: int) -> Growth | None:
        noted = [note.get(traceback, (0, 0)) for note in self._noted]
        blocks = judge_growth([count for count, _ in noted], calls)
        growing = blocks.trend is Trend.GROWING and blocks.per_call >= LEAST_BLOCKS_PER_CALL
        own = traceback[-1].filename.startswith(_INSTRUMENT)
        if own or not growing or all(is_library(frame.filename) for frame in traceback):
            return None
        return judge_growth([size for _, size in noted], calls)


def _leak(traceback: tracemalloc.Traceback, size: Growth, objects: list[object]) -> Leak:
    from harness.holders import find_holders

    held_by = tuple(held.lines[0] for held in find_holders(objects)[:2]) if objects else ()
    return Leak("memory", size.count, size.per_call, _frames(traceback), held_by)


def _frames(traceback: tracemalloc.Traceback) -> tuple[Frame, ...]:
    """Return the program's frames, innermost first."""
    lines = [(frame.filename, frame.lineno) for frame in reversed(traceback)]
    return tuple((*line, _function_at(*line)) for line in lines if not is_library(line[0]))


def _function_at(file: str, line: int) -> str:
    """Return the qualified name of the function round a line: tracemalloc tells only the line.

    It is read from the source: the garbage collector shows no function that was frozen.
    """
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return "<module>"
    return ".".join(_names_round(line, tree)).removesuffix(".<locals>") or "<module>"


def _names_round(line: int, node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not getattr(child, "lineno", line) <= line <= (getattr(child, "end_lineno", line) or 0):
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child.name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield "<locals>"
        yield from _names_round(line, child)


def _objects(lines: Collection[tracemalloc.Frame]) -> Mapping[tracemalloc.Frame, list[object]]:
    """Return what each line made: what the garbage collector knows, or else what such objects hold.

    Bytes, and dictionaries of them, are known to it only by who holds them. All lines are looked
    for at once: a look goes through all that the program has, which takes a busy machine seconds.
    """
    known = _made_at(lines, gc.get_objects())
    unknown = [line for line, objects in known.items() if not objects]
    if not unknown:
        return known
    held = chain.from_iterable(map(referents, gc.get_objects()))
    return {**known, **_made_at(unknown, held)}


def _made_at(
    lines: Collection[tracemalloc.Frame], objects: Iterable[object]
) -> dict[tracemalloc.Frame, list[object]]:
    """Sort objects by the line that made them, some of each line."""
    found: dict[tracemalloc.Frame, list[object]] = {line: [] for line in lines}
    for each in objects:
        made = tracemalloc.get_object_traceback(each)
        if made is not None and made[-1] in found and len(found[made[-1]]) < ASKED_AT_MOST:
            found[made[-1]].append(each)
    return found
