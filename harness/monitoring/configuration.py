"""The packaged configuration and alert rules, and the same for other ports and in less time."""

import re
from collections.abc import Mapping
from pathlib import Path

from harness.cli import OFFSETS, SERVER_PORT
from harness.model import Variant

FOLDER = Path(__file__).parent
CONFIG, RULES = "prometheus.yml", "alerts.yml"

LEAST_MS = 500
"""A scrape fails that takes longer than the time until the next, also on a busy machine."""

_DURATION = re.compile(r"\b(\d+)([smh])\b")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000}
_PORT = re.compile(r"(?<=localhost:)\d+")


def write(folder: Path, ports: Mapping[Variant, int], speed: float) -> Path:
    """Write configuration and rules into `folder`; return the path of the configuration.

    The debug servers are at `ports` instead of their default ones, and every duration is divided
    by `speed`: with 30, `for: 5m` is ten seconds.
    """
    known = {int(SERVER_PORT.default or 0) + OFFSETS[each]: port for each, port in ports.items()}
    config = _PORT.sub(lambda at: str(known[int(at[0])]), packaged(CONFIG))
    for name, text in ((CONFIG, config), (RULES, packaged(RULES))):
        (folder / name).write_text(sped_up(text, speed), encoding="utf-8")
    return folder / CONFIG


def packaged(name: str) -> str:
    """Return the text of a file that is part of the package."""
    return (FOLDER / name).read_text(encoding="utf-8")


def sped_up(text: str, speed: float) -> str:
    """Return configuration or rules with every duration divided by `speed`.

    None that is shorter than `LEAST_MS` comes out.
    """

    return _DURATION.sub(lambda found: f"{_divided_ms(found, speed)}ms", text)


def scrape_s(speed: float) -> float:
    """Return the time between two scrapes, divided by `speed`."""
    found = re.search(rf"scrape_interval: {_DURATION.pattern}", packaged(CONFIG))
    assert found is not None
    return _divided_ms(found, speed) / 1000


def _divided_ms(duration: re.Match[str], speed: float) -> int:
    return max(LEAST_MS, round(int(duration[1]) * _UNIT_MS[duration[2]] / speed))
