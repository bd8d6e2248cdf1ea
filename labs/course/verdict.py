"""A judgement in words, for a terminal of 80 columns."""

import re
import textwrap
from pathlib import Path

from .judge import Judgement

COLUMNS = 80
_COMMAND = re.compile(r"`[^`]{1,60}`")
_NO_BREAK = "\N{NO-BREAK SPACE}"


def lines_of(name: str, path: Path, judgement: Judgement) -> list[str]:
    """Return the verdict on the copy at `path` of lab `name`: evidence, then the next step."""
    lines = _passed(name, judgement) if judgement.passed else _failed(name, path, judgement)
    if judgement.printed:
        lines += ["It printed:", *(f"    {line}" for line in judgement.printed)]
    return lines


def wrapped(text: str, indent: str = "", first: str | None = None) -> list[str]:
    """Return `text` in lines of at most 80 columns.

    Words that are longer stay whole, and so do commands in backquotes.
    """
    lines = textwrap.wrap(
        _COMMAND.sub(lambda command: command[0].replace(" ", _NO_BREAK), text),
        COLUMNS,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK, " ") for line in lines]


def _passed(name: str, judgement: Judgement) -> list[str]:
    lines = [f"✓ {name}: passed. Nothing grew over {judgement.operations} operations, and:"]
    for kept in judgement.kept:
        lines += wrapped(kept, "      ", "    ✓ ")
    return [*lines, f"Next: python -m labs diff {name}"]


def _failed(name: str, path: Path, judgement: Judgement) -> list[str]:
    lines = [f"✗ {name}: not yet."]
    for sentence, *more in judgement.findings:
        lines += wrapped(sentence, "    ", "  ✗ ")
        for line in more:
            lines += wrapped(line.strip(), "        ", "      ")
    return [
        *lines,
        f"Next: mend {path}, then:",
        f"    python -m labs check {name}",
        f"    python -m labs hint {name}      if you are stuck",
    ]
