"""Lab 16: a job runner keeps the threads of every job. `python -m labs.executor_registry`."""

import gc
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fixed import executor_registry as fixed
from harness import table
from harness.cli import main
from harness.gauges import OPEN_FDS, THREADS
from harness.model import Exercise, Gauge, Lab, Setting, Workload
from harness.patience import Patience
from leaky import executor_registry as leaky

from .started import Started
from .words import are

JOBS = Gauge("app_jobs_total", "Jobs done", "Jobs done")
ITEM_S = 0.003
"""So long does an item take: the second one finds the first one's thread at work."""
PATIENCE_S = 0.5
FEW = 4
"""A runner may keep a few; one for each job is a registry that nobody empties."""


@contextmanager
def workload(subject: ModuleType, _setting: Setting) -> Iterator[Workload]:
    """Run one job per operation; at the end cancelling each ends the threads that are left."""
    runner = subject.JobRunner()
    done = 0

    def measure(page: str) -> int:
        time.sleep(ITEM_S)
        return len(page)

    def run(job: int) -> object:
        nonlocal done
        lengths = runner.run(job, measure, [f"page {job}", "index"])
        done += 1
        return lengths

    try:
        yield Workload(run, {JOBS: lambda: done})
    finally:
        for job in range(done):
            runner.cancel(job)


def results_come_in_order(subject: ModuleType, _directory: Path) -> str | None:
    """Each item's result is returned, in the items' order."""
    got = subject.JobRunner().run(1, len, ["aaa", "", "bb"])
    return (
        None if got == [3, 0, 2] else f"run gave {got} for ['aaa', '', 'bb'] and len, not [3, 0, 2]"
    )


def items_are_worked_on_together(subject: ModuleType, _directory: Path) -> str | None:
    """Two items of a job are worked on at the same time."""
    begun: list[str] = []

    def work(item: str) -> bool:
        begun.append(item)
        return Patience(PATIENCE_S).until(lambda: len(begun) >= subject.WORKERS)

    if all(subject.JobRunner().run(1, work, ["a", "b"])):
        return None
    return f"{subject.WORKERS} items were not worked on at the same time; keep the threads"


def errors_reach_the_caller(subject: ModuleType, _directory: Path) -> str | None:
    """What the work raises, run raises; the failed job's threads end too."""
    started, runner, kept = Started(), subject.JobRunner(), []
    for job in range(3):
        try:
            runner.run(job, int, ["1", "one"])
        except ValueError as error:
            kept.append(error)  # as an error report would, and with it the frames of the failure
            continue
        return "run(int, ['1', 'one']) raised no ValueError; let its caller see the error"
    return _left_over(started, "3 jobs that failed", "the executor must be ended on that path too")


def threads_end_with_their_job(subject: ModuleType, _directory: Path) -> str | None:
    """A job that is done has no threads, though the runner goes on."""
    started, runner = Started(), subject.JobRunner()
    for job in range(4):
        runner.run(job, len, ["a", "b"])
    return _left_over(started, "4 jobs that are done", "end each executor before run returns")


def jobs_that_are_done_are_forgotten(subject: ModuleType, _directory: Path) -> str | None:
    """Of a job that is done the runner keeps no executor, not even one that has ended."""
    runner, before = subject.JobRunner(), _executors()
    for job in range(20):
        runner.run(job, len, ["a", "b"])
    if (kept := _executors() - before) <= FEW:
        return None
    return (
        f"{are(kept, 'executor')} kept after 20 jobs that are done; take each out of the registry"
    )


def _executors() -> int:
    """Count the executors in memory, without those that only wait for the collector."""
    gc.collect()
    return sum(issubclass(type(each), Executor) for each in gc.get_objects())


def _left_over(started: Started, what: str, then: str) -> str | None:
    """Say how many threads are left that were started, when they had time to end."""
    if started.end(PATIENCE_S):
        return None
    return f"{are(started.count(), 'thread')} left of {what}; {then}"


def one_job_can_be_cancelled(subject: ModuleType, _directory: Path) -> str | None:
    """cancel stops what a running job has not begun, and no other job."""
    runner, go, submitted = subject.JobRunner(), threading.Event(), threading.Event()
    outcome: Future[Any] = Future()

    def items() -> Iterator[str]:
        yield from ["a"] * 8
        submitted.set()

    def work(item: str) -> int:
        Patience(PATIENCE_S).until(go.is_set)
        return len(item)

    def run() -> None:
        try:
            outcome.set_result(runner.run(1, work, items()))
        except BaseException as error:  # noqa: BLE001 - whatever the copy raises is looked at
            outcome.set_result(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    Patience(PATIENCE_S).until(submitted.is_set)
    runner.cancel(1)
    go.set()
    Patience(2 * PATIENCE_S).until(outcome.done)
    if not isinstance(got := outcome.result(0), CancelledError):
        return f"a job that was cancelled gave {got!r}; cancel must find it while it runs"
    try:
        return results_come_in_order(subject, _directory) or _runs_on(runner)
    except RuntimeError as error:
        return f"after one job was cancelled the next failed: {error}; give each its own threads"


def _runs_on(runner: Any) -> str | None:  # noqa: ANN401 - of any copy
    return None if runner.run(2, len, ["a"]) == [1] else "the job after a cancelled one went wrong"


LAB = Lab(
    name="executor_registry",
    title="Executors that are kept",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=THREADS,
    counters=(JOBS,),
    judged=(THREADS,),
    warning="Thread leak detected!",
    all_clear="Threads stable",
    rate_hz=20,
    descriptors_per_operation=0,
    rows=(
        table.gauge_row(THREADS),
        table.gauge_row(JOBS),
        table.gauge_row(OPEN_FDS),
        table.MEMORY,
        table.RISK,
    ),
    commands=(
        "ps -o nlwp= -p {pid}",
        "curl 'http://localhost:{port}/debug/pprof/goroutine?debug=1' | head -20",
    ),
    hints=(
        "No descriptor grows: look at the threads. While --leaky runs, "
        "http://localhost:6060/debug/pprof/goroutine?debug=1 (with --mine: port 6062) groups them "
        "by their stacks.",
        "JobRunner._pools holds every job's executor, and an executor that is held keeps threads.",
        "End the executor where the job ends, also when it fails: `with ThreadPoolExecutor(...)`; "
        "and take it out of _pools.",
    ),
    exercise=Exercise(
        task=(
            "The runner splits jobs over threads, and a job can be cancelled while it runs. After "
            "a day the service is slow and then fails with: can't start new thread."
        ),
        behaviours=(
            results_come_in_order,
            items_are_worked_on_together,
            errors_reach_the_caller,
            threads_end_with_their_job,
            jobs_that_are_done_are_forgotten,
            one_job_can_be_cancelled,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.executor_registry"))
