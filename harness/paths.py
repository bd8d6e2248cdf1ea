"""Paths as people read them: relative to where they stand."""

import os
from pathlib import Path


def relative(file: str) -> str:
    """Return the path of a file relative to the current folder if it is below.

    As it is where there is no current folder: a program may have removed it.
    """
    try:
        return file.removeprefix(str(Path.cwd()) + os.sep)
    except FileNotFoundError:
        return file
