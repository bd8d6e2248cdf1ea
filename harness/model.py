"""The types that every room shares. Frozen, with units in the names; imports nothing of ours."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import ModuleType


class Variant(StrEnum):
    """Which of the twins runs: the leak, its fix, or the learner's own copy."""

    LEAKY = "leaky"
    FIXED = "fixed"
    MINE = "mine"


@dataclass(frozen=True)
class Gauge:
    """A figure that is measured.

    `name` is its key in JSON and its Prometheus name (`_total` makes it a counter), `label` its
    place in a console line, `title` its long form (START line and table rows). `help` says in a
    sentence what is counted, where the title does not.
    """

    name: str
    label: str
    title: str
    help: str = ""


Values = Mapping[Gauge, float | None]
"""`None` is "could not be measured" and prints as `n/a`, never as an estimate."""

Reading = Callable[[], float | None]
"""Measures one gauge now."""


@dataclass(frozen=True)
class Sample:
    """All gauges at one moment: `elapsed_s` since the start, after `operations` operations."""

    elapsed_s: float
    operations: int
    values: Values


@dataclass(frozen=True)
class Opened:
    """Where a resource that is still open was opened.

    `stack` holds (file, line, function), the user's frame first, and is empty for what no hook saw
    open; `opened_at_s` is on the monotonic clock (for the unseen, when it was first noticed).
    `descriptor` is its number where it has one, `owner()` the object that owns it or `None`, and
    `via` the library function that the user's line opened it through.
    """

    kind: str
    target: str
    opened_at_s: float
    thread_name: str
    stack: tuple[tuple[str, int, str], ...]
    descriptor: int | None = None
    owner: Callable[[], object | None] | None = field(default=None, repr=False, compare=False)
    via: str = ""


@dataclass(frozen=True)
class Verdict:
    """The judgement on a run: `leaking` is `None` while there is too little data to say."""

    leaking: bool | None
    gauge: Gauge
    growth_per_operation: float
    evidence: str


@dataclass(frozen=True)
class Failure:
    """The operations that raised one kind of error: how many so far, and the first of them.

    `operation` counts from 1.
    """

    kind: str
    message: str
    elapsed_s: float
    operation: int
    count: int = 1


@dataclass(frozen=True)
class Exhaustion:
    """The operating system refused: what it said, all gauges and what was open at that moment."""

    sample: Sample
    message: str
    open_by_directory: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """What an operating system's tool shows: `command` as one would type it, `source` answered.

    `lines` is what to print below the command, `figures` the numbers in it by name.
    """

    command: str
    source: str
    lines: tuple[str, ...]
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One run, finished or ended early, with everything that was measured in it.

    `fd_limit` is its soft limit on descriptors, `None` where there is none; `options` are the
    values of its lab's options. `samples` holds the first and the last, and of a long run a choice.
    """

    lab: str
    variant: Variant
    pid: int
    rate_hz: float
    fd_limit: int | None
    server_port: int | None = None
    options: Mapping[str, float | None] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    verdict: Verdict | None = None
    failures: tuple[Failure, ...] = ()
    exhaustion: Exhaustion | None = None
    evidence: tuple[str, ...] = ()
    views: tuple[View, ...] = ()


@dataclass(frozen=True)
class Started:
    """The run begins: `run` holds the first sample only; `notices` are lines to show before it."""

    run: Run
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sampled:
    """A report is due: `verdict` is set when this sample settled or changed it."""

    sample: Sample
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Traced:
    """The root cause of a leak, one line each: where opened, by whom held; none if not known."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """The run is over: `interrupted` when a signal ended it before its time."""

    run: Run
    interrupted: bool = False


Event = Started | Sampled | Failure | Exhaustion | Traced | Ended
Sink = Callable[[Event], None]
"""Shows events: console, JSON lines, metrics and live page are siblings behind this one hook."""


@dataclass(frozen=True)
class Setting:
    """What a workload may use: a directory of its own and the values of its lab's options.

    `open_fds` counts the descriptors as the run's own gauge does.
    """

    directory: Path
    options: Mapping[str, float | None] = field(default_factory=dict)
    open_fds: Reading = lambda: None


@dataclass(frozen=True)
class Workload:
    """How to make one operation (numbered from 0), and how to read the lab's own gauges.

    `facts` replace options of the same key where a run settles them: a port that was asked for
    as 0.
    """

    operate: Callable[[int], Awaitable[object] | object]
    readings: Mapping[Gauge, Reading] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)


WorkloadContext = AbstractContextManager[Workload] | AbstractAsyncContextManager[Workload]


@dataclass(frozen=True)
class Option:
    """A number that a lab's command line takes beyond the common ones.

    A port option defaults to `default` for the leaky variant, the next one for the fixed.
    """

    flag: str
    help: str
    example: str
    default: float | None = None
    minimum: float = 0
    maximum: float = 65535
    is_port: bool = False
    is_whole: bool = True

    @property
    def key(self) -> str:
        """The option's key in `Setting.options`: `--pool-size` is `pool_size`."""
        return self.flag.removeprefix("--").replace("-", "_")


@dataclass(frozen=True)
class Row:
    """One line of a comparison: a cell from each run, and a word on the difference."""

    title: str
    cell: Callable[[Run], str]
    improvement: Callable[[Run, Run], str]


Behaviour = Callable[[ModuleType, Path], str | None]
"""Puts a subject to one test of what it is for, in an empty folder of its own.

Returns `None` where it does that, else one sentence for the learner: what is wrong, with the value
that was seen, and what to do. The first line of its docstring says what it asks for.
"""


@dataclass(frozen=True)
class Exercise:
    """How a learner's copy of the leaky twin is judged, besides what stays open.

    `task` says in a sentence or two what the learner is faced with, without naming the cause.
    `behaviours` are what the subject must still do; `operations` are made in each round of the
    judgement, under a soft limit of `fd_limit` descriptors. `imports` names the modules that they
    import only as they run, where that takes long: one import then serves all that judge.
    """

    task: str
    behaviours: Sequence[Behaviour]
    operations: int = 10
    fd_limit: int = 256
    imports: Sequence[str] = ()


@dataclass(frozen=True)
class Lab:
    """A pair of twins and how to drive, show and judge them.

    `watch` is the gauge on the console line, `counters` follow it there; a leak may show in any of
    the gauges in `judged`. `descriptors_per_operation` is what one leaking operation costs at most,
    so that the run can raise its descriptor limit in time. `commands` may use {pid}, {port} and the
    lab's options. `hints` are three: where to look, who holds it, the fix in words.
    """

    name: str
    title: str
    leaky: ModuleType
    fixed: ModuleType
    workload: Callable[[ModuleType, Setting], WorkloadContext]
    watch: Gauge
    counters: Sequence[Gauge]
    judged: Sequence[Gauge]
    warning: str
    all_clear: str
    rate_hz: float
    descriptors_per_operation: float
    rows: Sequence[Row]
    gauges: Sequence[Gauge] = ()
    commands: Sequence[str] = ()
    views: Callable[[Run, Setting], Sequence[View]] = lambda _run, _setting: ()
    options: Sequence[Option] = ()
    hints: Sequence[str] = ()
    exercise: Exercise | None = None
