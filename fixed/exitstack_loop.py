"""A packer that appends files to an archive as they come in.

Each `with` ends where what it opens is done with: the archive's with the loop, a part's with its
pass. A pass that waits for the next file holds none.
"""

from collections.abc import Generator, Iterable
from pathlib import Path


class Packer:
    """Packs files into the file `archive`, which is made anew."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def pack(self, incoming: Iterable[Path]) -> Generator[int, None, None]:
        """Append each of the `incoming` files as it comes; yield how many bytes that were.

        Ends when no more come in, or it is closed. Raises OSError: one cannot be read.
        """
        with open(self._archive, "wb") as archive:
            for path in incoming:
                with open(path, "rb") as part:
                    size = archive.write(part.read())
                yield size
