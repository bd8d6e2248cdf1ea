"""Libraries that a single lab is about: without one of them, its lab says how to install it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.command import refuse


@contextmanager
def needs(library: str, extra: str, module: str, program: str) -> Iterator[None]:
    """Import twins in the body of the `with` that need `library`, which `extra` installs.

    `module` is the `__name__` of the lab; where that is run as `program`, a missing library ends
    it with one line on stderr and status 2.

    Raises:
        ImportError: the library is missing; the message is a sentence.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        message = f"it needs {library}; install it with `python -m pip install -e '.[{extra}]'`"
        if module == "__main__":
            sys.exit(refuse(program, message))
        raise ImportError(message) from None
