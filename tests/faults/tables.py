"""A campaign's table, and the figures that it must keep to."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """A figure that must not pass `at_most`; `met` tells whether it does not."""

    name: str
    figure: float
    at_most: float

    @property
    def met(self) -> bool:
        """Tell whether the figure keeps to its limit."""
        return self.figure <= self.at_most

    def __str__(self) -> str:
        """Return one line for the results."""
        mark = "✅" if self.met else "❌"
        return f"{mark} {self.name}: {self.figure:.3g} (at most {self.at_most:g})"


@dataclass(frozen=True)
class Table:
    """One table of the results: what was measured, its rows, what it must keep to, a word on it."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    limits: Sequence[Limit] = ()
    note: str = ""

    def as_markdown(self) -> str:
        """Return it as a section of a Markdown document."""
        from tabulate import tabulate

        body = tabulate(self.rows, self.headers, tablefmt="github", disable_numparse=True)
        lines = [f"## {self.title}", "", body, ""]
        lines += [self.note, ""] if self.note else []
        lines += [f"- {limit}" for limit in self.limits]
        return "\n".join(lines).rstrip() + "\n"
