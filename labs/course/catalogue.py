"""Which labs there are, in the order of the guide."""

import difflib
import importlib
import pkgutil
import re
from pathlib import Path

import labs
import leaky
from harness.errors import UsageError
from harness.model import Lab

ROOT = Path(labs.__file__).resolve().parents[1]
GUIDE = ROOT / "GUIDE.md"
_HEADING = re.compile(r"^### Lab (\d+): (\w+)$", re.M)


def names() -> list[str]:
    """Return the labs' names: those with a leaky twin and a module here; none is imported."""
    twins = {each.name for each in pkgutil.iter_modules(leaky.__path__)}
    there = {each.name for each in pkgutil.iter_modules(labs.__path__)}
    last = len(twins) + 1
    order = chapters()
    return sorted(twins & there, key=lambda name: (order.get(name, last), name))


def chapters() -> dict[str, int]:
    """Return the numbers of the guide's chapters by the labs' names; none without the guide."""
    if not GUIDE.is_file():
        return {}
    found = _HEADING.findall(GUIDE.read_text(encoding="utf-8"))
    return {name: int(number) for number, name in found}


def checked(name: str) -> str:
    """Return `name` if it is a lab's.

    Raises:
        UsageError: there is no such lab; the most similar names are proposed.
    """
    known = names()
    if name in known:
        return name
    similar = difflib.get_close_matches(name, known, n=1)
    proposal = f"did you mean {similar[0]}?" if similar else "python -m labs list shows them"
    raise UsageError(f"{name}: there is no lab of that name; {proposal}")


def load(name: str) -> Lab:
    """Import the lab called `name`.

    Raises:
        UsageError: there is none, or a library that it is about is not installed.
    """
    try:
        lab: Lab = importlib.import_module(f"labs.{checked(name)}").LAB
    except ImportError as error:
        raise UsageError(f"{name}: {error}") from error
    return lab
