"""What happens to a draft before it takes the place of what it replaces."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


@contextmanager
def before_rename(then: Callable[[Path], object]) -> Iterator[None]:
    """Call `then` with the draft, once, when it is about to take another file's name."""
    rename = os.replace

    def replace(draft: Any, page: Any) -> None:  # noqa: ANN401 - as os.replace takes them
        with mock.patch.multiple(os, replace=rename, rename=rename):
            then(Path(draft))
        rename(draft, page)

    with mock.patch.multiple(os, replace=replace, rename=replace):
        yield


def drafted_elsewhere(put: Callable[[], object], directory: Path) -> str | None:
    """Return where `put` makes a draft that is not in `directory`."""
    drafts: list[Path] = []
    with before_rename(drafts.append):
        put()
    inside = directory.resolve()
    outside = (each for each in drafts if not each.resolve().is_relative_to(inside))
    return next((str(each.parent) for each in outside), None)
