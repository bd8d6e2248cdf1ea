"""One run of one variant, in this process: everything it needs, in order, and cleaned up after."""

import asyncio
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from signal import SIGHUP
from types import ModuleType
from typing import Any

from . import limits, mine
from .cli import COMMON, EXHAUSTED, OFFSETS, SERVER_PORT, TRACEMALLOC, ULIMIT, Options
from .clock import SystemClock
from .command import DONE
from .console import Console
from .errors import UsageError
from .evidence import Evidence
from .gauges import FILES, OPEN_FDS, RSS_BYTES, TASKS, THREADS
from .jsonlines import JsonLines
from .listing import exists_here
from .model import Gauge, Lab, Reading, Run, Setting, Sink, Variant, Workload
from .page.live import Live
from .plot import Plot
from .ports import listen
from .probes import fds, memory, tasks, threads
from .reserve import Reserve
from .runner import Pace, Runner, Step, cancelled_after, refusal
from .server import NAME, DebugServer
from .stops import Stopped, stop, stop_between_callbacks
from .terminal import Terminal
from .tracker import Tracker
from .workdir import workdir

SPARE_FDS = 1
"""What a run needs beyond its baseline to make one operation at all."""
START_FDS = 16
"""What the debug server, two event loops and a lab's own parts open before the first operation."""
TURN_S = 0.0001
"""Of a thread, where another one waits for the interpreter."""
MARGIN_FDS = 32
"""What a run may need for a moment besides what it leaks."""


@dataclass(frozen=True)
class Stage:
    """What stands around a workload: options, setting, the reserve, the debug server."""

    lab: Lab
    variant: Variant
    options: Options
    setting: Setting
    reserve: Reserve
    server: DebugServer | None
    evidence: Evidence
    live: Live
    sinks: tuple[Sink, ...] = ()

    def tasks(self) -> int:
        """Count the tasks without those that answer the debug server's requests."""
        return tasks.count(tasks.other_than(NAME, self.server.loop) if self.server else None)

    def read(self, reading: Reading) -> float | None:
        """Take a reading; the reserve lends the descriptor that it takes where none is left."""
        try:
            return reading()
        except OSError:
            with self.reserve.spent():
                return reading()

    def readings(self) -> dict[Gauge, Reading]:
        """Return how the gauges that every run has are read."""
        return {
            OPEN_FDS: self.setting.open_fds,
            FILES: fds.files,
            THREADS: partial(threads.count, _is_observer),
            TASKS: self.tasks,
            RSS_BYTES: memory.rss_bytes,
        }

    def survey(self) -> Mapping[str, int]:
        """Count what is open by directory; the reserve lends the descriptor that this takes."""
        with self.reserve.spent():
            return fds.by_directory()

    def commands(self) -> list[str]:
        """Return what to try in another terminal, with this run's pid and ports filled in."""
        known = {"pid": os.getpid(), **self.setting.options}
        if self.server:
            known["port"] = self.server.port
        shown = (line for line in self.lab.commands if self.server or "{port}" not in line)
        return [f"    {line.format(**known)}" for line in shown if exists_here(line)]

    def steps(self) -> Iterator[Step]:
        """Return what is due when; a run that holds waits, at its end, for what never is."""
        options = self.options
        pace = Pace(options.rate_hz, options.report_every_s, options.duration_s)
        return chain(pace.steps(), [Step(math.inf, None)] if options.hold else [])


def run_one(lab: Lab, variant: Variant, options: Options) -> int:
    """Run `variant` of `lab` in this process and return the exit status.

    Raises UsageError before anything is printed where the run cannot be made as asked.
    """
    subject = _subject(lab, variant)
    tracker = Tracker()
    with ExitStack() as stack:
        plot = _plot(lab, options, stack)
        notices = [_raise_limit(lab, variant, options), _warn_of_remote(options)]
        _check_start()
        stage = _set_up(lab, variant, options, subject, tracker, stack)
        stack.enter_context(tracker)
        stack.enter_context(_short_turns())
        stack.enter_context(_refusals_told_once())
        _trace_memory(int(options.value(TRACEMALLOC, variant) or 0))
        stage = replace(stage, sinks=(*stage.sinks, *plot))
        run = _play(stage, subject, [notice for notice in notices if notice])
    return EXHAUSTED if run.exhaustion else DONE


def _subject(lab: Lab, variant: Variant) -> ModuleType:
    if variant is Variant.MINE:
        return mine.load(mine.path_of(lab.name), lab.leaky)
    return lab.leaky if variant is Variant.LEAKY else lab.fixed


def _plot(lab: Lab, options: Options, stack: ExitStack) -> list[Plot]:
    """Return the sink for `--plot`, which draws when everything else has been given back."""
    if options.plot is None:
        return []
    plot = Plot(lab, options.plot)
    stack.callback(plot.draw)
    return [plot]


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let threads share the interpreter in turns of `TURN_S`, not of 5 ms.

    A report asks the system once for each descriptor, and after each answer may have to wait for
    the turn of a page that looks for holders to end: with 12,000 files open, reports came up to
    0.7 s late, and with such turns 0.03 s.
    """
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def _refusals_told_once() -> Iterator[None]:
    """Keep quiet about files that cannot be flushed as they are dropped: their run has said why.

    Since Python 3.13 such a file's finalizer writes a traceback to stderr.
    """
    show = sys.unraisablehook

    def show_others(problem: "sys.UnraisableHookArgs") -> None:
        if refusal(problem.exc_value) is None:
            show(problem)

    sys.unraisablehook = show_others
    try:
        yield
    finally:
        sys.unraisablehook = show


def _raise_limit(lab: Lab, variant: Variant, options: Options) -> str | None:
    if options.value(ULIMIT, variant) is not None or variant is Variant.FIXED:
        return None
    leaked = options.rate_hz * options.duration_s * lab.descriptors_per_operation
    return limits.raise_to((fds.count() or 0) + leaked + MARGIN_FDS)


def _warn_of_remote(options: Options) -> str | None:
    if not options.allow_remote:
        return None
    return (
        f"⚠️  the debug server on {options.host} answers anyone who reaches it: "
        "stacks, paths and memory of this process"
    )


def _trace_memory(frames: int) -> None:
    """Trace from here on: our own imports, traced, would take seconds and be in the profile."""
    if frames:
        import tracemalloc

        memory.rss_bytes()  # imports psutil
        tracemalloc.start(frames)


def _set_up(
    lab: Lab,
    variant: Variant,
    options: Options,
    subject: ModuleType,
    tracker: Tracker,
    stack: ExitStack,
) -> Stage:
    directory = stack.enter_context(workdir())
    numbers = {option.key: options.value(option, variant) for option in (*COMMON, *lab.options)}
    reserve = Reserve()
    stack.callback(reserve.close)
    evidence = Evidence(tracker, subject, partial(_lent, reserve))
    server = None
    port = int(numbers[SERVER_PORT.key] or 0)
    live = Live(lab, _beside(variant, port))
    if options.serve:
        server = stack.enter_context(_serving(options, port, reserve, evidence, live, tracker))
    setting = Setting(directory, numbers, partial(_open_fds, server))
    return Stage(lab, variant, options, setting, reserve, server, evidence, live)


def _beside(variant: Variant, port: int) -> int | None:
    """Return the port of the run to compare with; nobody knows it where any free one will do."""
    other = Variant.FIXED if variant is Variant.LEAKY else Variant.LEAKY
    return port + OFFSETS[other] - OFFSETS[variant] if port else None


def _is_observer(thread_name: str) -> bool:
    """Tell the threads that answer the debug server's requests, which are not in the picture."""
    return thread_name.startswith(f"{NAME}-")


def _open_fds(server: DebugServer | None) -> int | None:
    """Count the open descriptors without those of the debug server's connections."""
    with server.counted if server else nullcontext():
        counted = fds.count()
        observing = server.connections() if server else 0
    return None if counted is None else counted - observing


@contextmanager
def _serving(
    options: Options,
    port: int,
    reserve: Reserve,
    evidence: Evidence,
    live: Live,
    tracker: Tracker,
) -> Iterator[DebugServer]:
    listener = listen(port, SERVER_PORT.flag, options.host)
    from .index import application

    pages = application(evidence.origins, evidence.rows, live, evidence.look, options.allow_remote)
    server = DebugServer(listener, reserve, pages, tracker.unwatched)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _play(stage: Stage, subject: ModuleType, notices: list[str]) -> Run:
    context = stage.lab.workload(subject, stage.setting)
    with ExitStack() as stack:
        if isinstance(context, AbstractAsyncContextManager):
            return asyncio.run(_play_async(stage, context, notices), debug=False)
        with _preparing():
            workload = stack.enter_context(context)
        lifeline = sys.stdin.fileno() if stage.options.lifeline else None
        clock = SystemClock(lifeline, _parent_gone, threads.starved_s)
        with _performing(stage, workload, clock, notices) as runner:
            runner.drive(workload, stage.steps())
            if stage.options.hold:
                clock.wait_until(math.inf)
    return runner.run


async def _play_async(
    stage: Stage, context: AbstractAsyncContextManager[Workload], notices: list[str]
) -> Run:
    loop = asyncio.get_running_loop()
    stop_between_callbacks(loop)
    if stage.options.lifeline:
        loop.add_reader(sys.stdin.fileno(), _parent_gone)
    clock = SystemClock(starved=threads.starved_s)
    async with AsyncExitStack() as stack:
        with _preparing():
            workload = await stack.enter_async_context(context)
        under_way = await stack.enter_async_context(cancelled_after())
        with _performing(stage, workload, clock, notices) as runner:
            loop.set_exception_handler(lambda _loop, problem: _unhandled(runner, problem))
            stop_between_callbacks(loop, runner.look)
            await runner.drive_async(workload, stage.steps(), under_way)
            if stage.options.hold:
                await clock.wait_until_async(math.inf)
    return runner.run


@contextmanager
def _preparing() -> Iterator[None]:
    """Say in one line why what the operations use cannot be made, if the system refused it."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if refused := refusal(error):
            raise UsageError(
                f"cannot prepare the run: {refused.strerror}; set TMPDIR to a folder with room"
            ) from error
        raise


def _parent_gone() -> None:
    stop(SIGHUP)


def _unhandled(runner: Runner, problem: dict[str, Any]) -> None:
    """Take an event loop's complaint: `accept` out of descriptors ends the run like an operation.

    Others are shown and counted, but for the signal that ends the run.
    """
    error = problem.get("exception")
    if isinstance(error, Exception):
        runner.failed(error, runner.run.samples[-1].operations)


@contextmanager
def _performing(
    stage: Stage, workload: Workload, clock: SystemClock, notices: list[str]
) -> Iterator[Runner]:
    """Start a run, hold it to its limit, and close its record however it ends."""
    limit = stage.options.value(ULIMIT, stage.variant)
    _check_limit(limit)
    setting = replace(stage.setting, options={**stage.setting.options, **workload.facts})
    stage = replace(stage, setting=setting)
    with limits.limited(limit):
        runner = _runner(stage, workload, clock)
        try:
            runner.start(notices)
            yield runner
        except (Stopped, asyncio.CancelledError):
            runner.end(interrupted=True)
            raise
    with _lent(stage.reserve):
        views = tuple(stage.lab.views(runner.run, stage.setting))
    runner.run = replace(runner.run, views=views)
    runner.end()


def _lent(reserve: Reserve) -> AbstractContextManager[None]:
    """Lend the reserve where no other descriptor is left."""
    is_out = (fds.count() or 0) >= limits.soft()
    return reserve.spent() if is_out else nullcontext()


def _check_start() -> None:
    needed = (fds.count() or 0) + START_FDS
    if limits.soft() < needed:
        raise UsageError(
            f"{limits.soft():.0f} descriptors (ulimit -n) are too few to begin with; "
            f"allow {needed} or more"
        )


def _check_limit(limit: float | None) -> None:
    needed = (fds.count() or 0) + SPARE_FDS
    if limit is not None and limit < needed:
        raise UsageError(
            f"--ulimit {limit:.0f}: this run needs {needed} descriptors itself; "
            f"give {needed} or more"
        )
    if limit is not None and limit > limits.hard():
        raise UsageError(
            f"--ulimit {limit:.0f}: above the hard limit of {limits.hard():.0f} (ulimit -Hn); "
            "give less"
        )


def _runner(stage: Stage, workload: Workload, clock: SystemClock) -> Runner:
    limit = limits.soft()
    run = Run(
        stage.lab.name,
        stage.variant,
        os.getpid(),
        stage.options.rate_hz,
        None if math.isinf(limit) else int(limit),
        stage.server.port if stage.server else None,
        stage.setting.options,
    )
    readings = {
        gauge: partial(stage.read, reading)
        for gauge, reading in (stage.readings() | dict(workload.readings)).items()
    }
    return Runner(
        run,
        judged=stage.lab.judged,
        readings=readings,
        sinks=[_sink(stage), stage.live, *stage.sinks],
        clock=clock,
        survey=stage.survey,
        trace=stage.evidence.lines,
        trace_last=stage.options.as_json,
        on_broken_sink=_report_broken,
    )


def _sink(stage: Stage) -> Sink:
    if stage.options.as_json:
        return JsonLines(sys.stdout)
    return Console(stage.lab, Terminal(sys.stdout), stage.commands())


def _report_broken(error: Exception) -> None:
    sys.stderr.write(f"a view failed and was dropped: {type(error).__name__}: {error}\n")
