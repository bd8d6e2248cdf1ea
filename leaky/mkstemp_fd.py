"""A page cache that replaces a page in one step: a reader finds the old one or the new, whole.

`mkstemp` opens the draft and gives a number besides the name. The draft is written by its name,
renamed, and taken away if that fails. The number is forgotten: no object owns it, so there is none
whose end would close it.
"""

import tempfile
from pathlib import Path


class PageCache:
    """Keeps pages in `directory`, a file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, page: str, text: str) -> int:
        """Keep `text` as `page`, in place of what was kept before; return its size in bytes."""
        _, path = tempfile.mkstemp(dir=self._directory)
        draft = Path(path)
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(self._directory / page)
        finally:
            draft.unlink(missing_ok=True)
        return (self._directory / page).stat().st_size

    def get(self, page: str) -> str:
        """Return the text of `page`; raise FileNotFoundError if there is none."""
        return (self._directory / page).read_text(encoding="utf-8")
