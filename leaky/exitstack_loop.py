"""A packer that appends files to an archive as they come in.

One ExitStack closes everything, and it does so at its own end. It stands round the whole loop, so
that what each pass opens stays in the stack until the last pass is over, and a service's loop has
no last pass.
"""

from collections.abc import Generator, Iterable
from contextlib import ExitStack
from pathlib import Path


class Packer:
    """Packs files into the file `archive`, which is made anew."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def pack(self, incoming: Iterable[Path]) -> Generator[int, None, None]:
        """Append each of the `incoming` files as it comes; yield how many bytes that were.

        Ends when no more come in, or it is closed. Raises OSError: one cannot be read.
        """
        with ExitStack() as stack:
            archive = stack.enter_context(open(self._archive, "wb"))
            for path in incoming:
                part = stack.enter_context(open(path, "rb"))
                yield archive.write(part.read())
