"""A picture of runs: the curves of all of them, the limit, and the verdict."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import number, seconds
from .errors import UsageError
from .gauges import OPEN_FDS
from .model import Ended, Event, Gauge, Lab, Run, Variant
from .table import exhaustion_s

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".svg", ".png")
NEAR = 3
"""A limit this many times the highest value is drawn; a farther one would flatten the curves."""
COLOURS = {Variant.LEAKY: "#b93a0a", Variant.FIXED: "#0b57b0", Variant.MINE: "#7a4b00"}
MARKERS = {Variant.LEAKY: "o", Variant.FIXED: "s", Variant.MINE: "D"}
LIMIT_COLOUR = "#6b21a8"
SAME_EVERY_TIME: dict[Any, Any] = {"svg.hashsalt": "resource-leak-lab", "svg.fonttype": "none"}
"""The same run gives the same file (matplotlib names parts of an SVG by chance otherwise)."""


def check(path: str) -> None:
    """Find out before a run whether its picture could be drawn into the file at `path`.

    Raises:
        UsageError: the ending is not known, there is no such folder, or matplotlib is missing.
    """
    file = Path(path)
    if file.suffix.lower() not in ENDINGS:
        raise UsageError(f"--plot {path}: the ending must be one of {', '.join(ENDINGS)}")
    if not file.parent.is_dir():
        raise UsageError(f"--plot {path}: there is no folder {file.parent}; make it first")
    if find_spec("matplotlib") is None:
        raise UsageError(
            f"--plot {path}: it needs matplotlib; install it with "
            "`python -m pip install -e '.[plot]'`"
        )


class Plot:
    """The sink that draws a run of `lab` into the file at `path`, when it is asked to.

    It only takes note of the run: with what has leaked still open there may be no descriptor left
    for the file.
    """

    def __init__(self, lab: Lab, path: str) -> None:
        self._lab = lab
        self._path = path
        self._run: Run | None = None

    def __call__(self, event: Event) -> None:
        """Keep the run when it has ended."""
        if isinstance(event, Ended):
            self._run = event.run

    def draw(self) -> None:
        """Write the file, if the run has begun."""
        if self._run:
            draw(self._lab, [self._run], self._path)


def draw(lab: Lab, runs: Sequence[Run], path: str) -> None:
    """Draw `runs` of `lab` into one figure, SVG or PNG by the ending of `path`.

    Raises:
        UsageError: the file cannot be written.
    """
    import matplotlib

    with matplotlib.rc_context(SAME_EVERY_TIME):
        drawn = figure(lab, runs)
        try:
            drawn.savefig(path, metadata={"Date": None} if path.lower().endswith("svg") else {})
        except OSError as error:
            raise UsageError(f"--plot {path}: {error.strerror}; choose another file") from error


def figure(lab: Lab, runs: Sequence[Run]) -> "Figure":
    """Return the figure: what the lab watches and, if that is another, the open descriptors."""
    from matplotlib.figure import Figure

    gauges = list(dict.fromkeys((lab.watch, OPEN_FDS)))
    made = Figure(figsize=(8, 1 + 3.2 * len(gauges)), layout="constrained")
    made.suptitle("\n".join([lab.title, *(verdict(lab, run) for run in runs)]), fontsize=11)
    for at, gauge in enumerate(gauges):
        axes = made.add_subplot(len(gauges), 1, at + 1)
        _curves(axes, gauge, runs)
        if gauge == OPEN_FDS:
            _limit(axes, runs)
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
    return made


def verdict(lab: Lab, run: Run) -> str:
    """Return the verdict on a run in one line."""
    leaking = run.verdict.leaking if run.verdict else None
    says = {True: lab.warning, False: f"No leak! {lab.all_clear}", None: "too early to say"}
    return f"{run.variant}: {run.exhaustion.message if run.exhaustion else says[leaking]}"


def _curves(axes: "Axes", gauge: Gauge, runs: Sequence[Run]) -> None:
    for run in runs:
        points = [(sample.elapsed_s, sample.values.get(gauge)) for sample in run.samples]
        times_s, values = zip(*points, strict=True)
        label = f"{run.variant}: {number(values[-1])}"
        drawn = [float("nan") if value is None else value for value in values]
        axes.plot(
            times_s,
            drawn,
            color=COLOURS[run.variant],
            marker=MARKERS[run.variant],
            label=label,
            gid=f"{gauge.name}-{run.variant}",
        )
    axes.set_xlabel("seconds")
    axes.set_ylabel(gauge.title)
    axes.grid(alpha=0.3)


def _limit(axes: "Axes", runs: Sequence[Run]) -> None:
    """Draw the lowest limit, or say where it is when it is far above the curves."""
    limits = [run.fd_limit for run in runs if run.fd_limit]
    if not limits:
        return
    label = f"limit: {min(limits)}{_reached(runs)}"
    is_near = min(limits) <= NEAR * axes.get_ylim()[1]
    height = min(limits) if is_near else float("nan")
    axes.axhline(height, color=LIMIT_COLOUR, linestyle="--", label=label, gid="limit")


def _reached(runs: Sequence[Run]) -> str:
    ends_s = [end_s for run in runs if (end_s := exhaustion_s(run, run.fd_limit)) is not None]
    return f", reached after {seconds(min(ends_s))} at this rate" if ends_s else ""
