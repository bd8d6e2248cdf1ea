"""Lab 9: each job's log stays open in logging's registry. `python -m labs.logging_handlers`."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from fixed import logging_handlers as fixed
from harness import listing, table
from harness.cli import main
from harness.gauges import OPEN_FDS
from harness.model import Exercise, Gauge, Lab, Run, Setting, View, Workload
from harness.probes import fds
from leaky import logging_handlers as leaky

from .words import are

JOBS = Gauge("app_jobs_total", "Jobs done", "Jobs done")
LOGGERS = Gauge("app_loggers_added", "Loggers added", "Loggers added")
FEW = 5
"""A program may have so many more loggers for its parts; those for its jobs are without end."""


@contextmanager
def workload(subject: ModuleType, setting: Setting) -> Iterator[Workload]:
    """Run a job per operation, and read its log; at the end all logs and new loggers go."""
    runner = subject.JobRunner(setting.directory)
    done, before = 0, _loggers()

    def run(job: int) -> object:
        nonlocal done
        total = runner.run(job, [f"{job}", "20"])
        done += 1
        return total, runner.log(job)

    with _registry_restored(), _errors_raised():
        yield Workload(run, {JOBS: lambda: done, LOGGERS: lambda: _loggers() - before})


def views(run: Run, setting: Setting) -> Sequence[View]:
    """Return what lsof and /proc count."""
    return listing.open_files(run, setting.directory, "job-")


def _loggers() -> int:
    return len(logging.root.manager.loggerDict)


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Let what a handler cannot write fail the operation; `logging` would print a traceback."""

    def raise_on(_handler: logging.Handler, _record: logging.LogRecord) -> None:
        raise  # noqa: PLE0704 - a handler calls this while it handles the error

    before = logging.Handler.handleError
    setattr(logging.Handler, "handleError", raise_on)  # noqa: B010 - mypy lets no method be set
    try:
        yield
    finally:
        setattr(logging.Handler, "handleError", before)  # noqa: B010


@contextmanager
def _registry_restored() -> Iterator[None]:
    """Close the handlers that are added meanwhile, and forget the loggers that are new."""
    known = {logger: list(logger.handlers) for logger in _all_loggers()}
    names = set(logging.root.manager.loggerDict)
    try:
        yield
    finally:
        for logger in _all_loggers():
            for handler in set(logger.handlers) - set(known.get(logger, [])):
                logger.removeHandler(handler)
                with suppress(OSError):  # what cannot be written has failed its operation
                    handler.close()
        for name in set(logging.root.manager.loggerDict) - names:
            del logging.root.manager.loggerDict[name]


def _all_loggers() -> list[logging.Logger]:
    """Return the loggers of the registry without the placeholders for their parents."""
    known = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in known if isinstance(each, logging.Logger))]


class Console(logging.Handler):
    """A handler of the service's own, which no job may close."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.closed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self.lines.append(record.getMessage())

    def close(self) -> None:
        """Note that somebody closed it."""
        self.closed = True
        super().close()


def each_job_has_its_own_log(subject: ModuleType, directory: Path) -> str | None:
    """A job's log has the lines of that job, as soon as it has run, and no others."""
    runner = subject.JobRunner(directory)
    for job in (1, 2):
        runner.run(job, [f"{job}", "5"])
    wanted = {1: "1 makes 1\n5 makes 6\n", 2: "2 makes 2\n5 makes 7\n"}
    for job, lines in wanted.items():
        if (got := runner.log(job)) != lines:
            return f"the log of job {job} is {got!r}, not {lines!r}; {_advice(got, lines)}"
    return None


def _advice(got: str, wanted: str) -> str:
    if len(got) > len(wanted):
        return "a handler gets the lines of every job until it is removed"
    return "a handler has to be there while its job runs"


def a_job_that_runs_again_logs_once(subject: ModuleType, directory: Path) -> str | None:
    """The second run of a job adds its lines to the log once."""
    runner = subject.JobRunner(directory)
    for _ in range(2):
        runner.run(1, ["5"])
    if (lines := runner.log(1).splitlines()) == ["5 makes 5"] * 2:
        return None
    return (
        f"job 1 ran twice, and its line is {lines.count('5 makes 5')} times in its log, not 2; "
        "each run adds a handler, and must remove it too"
    )


def a_failed_job_is_told(subject: ModuleType, directory: Path) -> str | None:
    """A job that fails raises its error, keeps its log so far, and closes it."""
    runner, before, kept = subject.JobRunner(directory), fds.count() or 0, []
    for job in range(3):
        try:
            runner.run(job, ["7", "seven"])
        except ValueError as error:
            kept.append(error)
    if len(kept) < 3:
        return "run(job, ['7', 'seven']) raised no ValueError; let its caller see it"
    if (still := (fds.count() or 0) - before) > 0:
        return f"{are(still, 'log')} open after 3 jobs that failed; close them in a finally"
    got = runner.log(0)
    return None if got == "7 makes 7\n" else f"the log of a failed job is {got!r}; keep its lines"


def the_service_keeps_its_handlers(subject: ModuleType, directory: Path) -> str | None:
    """The service's own handler sees every line, and stays open."""
    console = Console()
    logging.root.addHandler(console)
    try:
        subject.JobRunner(directory).run(1, ["5"])
        stays = console in logging.root.handlers and not console.closed
    finally:
        logging.root.removeHandler(console)
    if not stays:
        return "a job closed or removed the service's own handler; only touch the job's own"
    if console.lines == ["5 makes 5"]:
        return None
    return f"the service's own handler on the root logger saw {console.lines}, not ['5 makes 5']"


def the_registry_does_not_grow(subject: ModuleType, directory: Path) -> str | None:
    """However many jobs there are, loggers stay few: nothing takes them out of the registry."""
    runner, before = subject.JobRunner(directory), _loggers()
    for job in range(100, 120):
        runner.run(job, ["5"])
    if (more := _loggers() - before) <= FEW:
        return None
    return (
        f"logging's registry has {more} loggers more after 20 jobs; it never forgets one, so name "
        "the logger after the module"
    )


LAB = Lab(
    name="logging_handlers",
    title="A logger per job",
    leaky=leaky,
    fixed=fixed,
    workload=workload,
    watch=OPEN_FDS,
    counters=(JOBS, LOGGERS),
    judged=(OPEN_FDS,),
    warning="File descriptor leak detected!",
    all_clear="File descriptors stable",
    rate_hz=25,
    descriptors_per_operation=1,
    rows=(
        table.gauge_row(OPEN_FDS),
        table.gauge_row(LOGGERS),
        table.gauge_row(JOBS),
        table.MEMORY,
        table.RISK,
        table.view_row("Lsof Rows", "lsof_rows"),
        table.limit_row(table.COMMON_LIMIT),
    ),
    views=views,
    commands=(
        "lsof -a -p {pid} -d ^mem | grep job- | tail -3",
        "curl http://localhost:{port}/debug/pprof/",
    ),
    hints=(
        "Nothing in JobRunner keeps a file. Read the line `held by`: whose registry is it, and who "
        "put the job's name there?",
        "logging.root.manager.loggerDict holds each logger that getLogger ever made, a logger "
        "holds its handlers, and a FileHandler holds its file.",
        "Take one logger for the module, getLogger(__name__). Add the job's handler to it, and in "
        "a finally remove that handler and close it: both, for one that is only closed opens its "
        "file again at the next line.",
    ),
    exercise=Exercise(
        task=(
            "Each billing job has a log file of its own, which its page shows. The service runs "
            "some thousand jobs a day, and once a day it has to be started anew: Too many open "
            "files."
        ),
        behaviours=(
            each_job_has_its_own_log,
            a_job_that_runs_again_logs_once,
            a_failed_job_is_told,
            the_service_keeps_its_handlers,
            the_registry_does_not_grow,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(LAB, "labs.logging_handlers"))
