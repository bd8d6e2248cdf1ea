"""Writing to a person's terminal, a pipe or a file, whatever characters it can carry."""

import errno
import os
import shutil
import textwrap
from typing import TextIO

from .errors import UsageError, without_room

IN_ASCII = {
    "⚠️  ": "[!] ",
    "✓": "[ok]",
    "✗": "[x]",
    "✅ ": "",
    "❌ ": "",
    "🔴 ": "",
    "🟢 ": "",
    "→": "->",
    "…": "...",
    "·": "-",
}
GREEN, YELLOW = "32", "33"


def carried(text: str, encoding: str | None) -> str:
    """Return `text` as `encoding` can carry it: plain words instead of emoji and marks."""
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for mark, plain in IN_ASCII.items():
            text = text.replace(mark, plain)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def folded(text: str, columns: int) -> list[str]:
    """Return a line of text in lines of at most `columns`, the later ones indented by two more.

    Words stay whole, so a path can be copied; a terminal would break them where its line ends.
    """
    if len(text) <= columns:
        return [text]
    below = " " * (len(text) - len(text.lstrip()) + 2)
    return textwrap.wrap(
        text, columns, subsequent_indent=below, break_long_words=False, break_on_hyphens=False
    )


def write(stream: TextIO, text: str) -> None:
    """Write `text` at once.

    Raises:
        UsageError: the file that it goes to takes no more, or is open for reading only.
    """
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        if error.errno == errno.EBADF:
            raise UsageError(
                "cannot write the output: it goes to what can only be read; send it elsewhere"
            ) from error
        if no_room := without_room(error):
            raise no_room from error
        raise


class Terminal:
    """Lines to a text stream: flushed one by one, in colour only on a terminal that wants it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        self._in_colour = (
            self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )

    def line(self, text: str = "", colour: str | None = None) -> None:
        """Write one line; `colour` is an SGR number (ECMA-48), left out where none is wanted."""
        text = carried(text, self._stream.encoding)
        if colour and self._in_colour:
            text = f"\x1b[{colour}m{text}\x1b[0m"
        write(self._stream, text + "\n")

    def prose(self, text: str, colour: str | None = None) -> None:
        """Write a line of text that nobody pastes or parses: on a terminal folded between words."""
        columns = shutil.get_terminal_size().columns if self.is_terminal else len(text)
        for line in folded(text, columns):
            self.line(line, colour)
