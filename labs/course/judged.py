"""The child process of a check: drives the fixed twin and copies of the leaky one, each in a fork.

Not for calling directly: `labs.course.judge` starts it with its orders as JSON. A fork costs
milliseconds where a new interpreter with all imports costs tenths of a second, and whatever a copy
does to its process is done to nobody else.
"""

import gc
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import ModuleType

from harness.limits import limited, set_soft
from harness.mine import load
from harness.model import Behaviour, Lab

from . import catalogue
from .alarm import within
from .drive import Drive, Driven, exercise
from .endings import told, watch_forks

LIMIT_S = 8.0
"""What has not ended by then is ended."""
BEHAVIOUR_S = 1.0
Answer = Callable[[object], None]
Work = Callable[[Answer], None]
_fork = multiprocessing.get_context("fork").Process


def main() -> None:
    """Do as the orders say: `lab`, paths of `copies`, the `folder` for answers.

    Answers are files there: `reference.json`, and for each copy, by its position, `N.drive.json`
    and `N.behave.json`, with `N.ended.json` for the exit codes and `N.output` for what it printed.
    """
    orders = json.loads(sys.argv.pop())
    lab = catalogue.load(orders["lab"])
    folder = Path(orders["folder"])
    gc.freeze()  # what is there by now needs no collecting in any fork
    forks = [_started(partial(_drive_fixed, lab, folder), folder, "reference")]
    for number, copy in enumerate(map(Path, orders["copies"])):
        for name, work in (("drive", _drive_copy), ("behave", _behave)):
            forks.append(_started(partial(work, lab, copy, folder), folder, f"{number}.{name}"))
        codes = _ended(forks)[-2:]
        (folder / f"{number}.ended.json").write_text(json.dumps(codes), encoding="utf-8")
        forks = []


def _started(work: Work, folder: Path, name: str) -> ForkProcess:
    process = _fork(target=_run, args=(work, folder, name))
    process.start()
    return process


def _ended(forks: Sequence[ForkProcess]) -> list[int | None]:
    """Return the forks' exit codes; `None` for one that had to be ended."""
    deadline_s = time.monotonic() + LIMIT_S
    codes = []
    for fork in forks:
        fork.join(max(0.0, deadline_s - time.monotonic()))
        codes.append(fork.exitcode)
        fork.kill()
    return codes


def _run(work: Work, folder: Path, name: str) -> None:
    """Do `work` in a fork, with what it prints in a file; end as soon as it has answered."""
    output = os.open(folder / f"{name}.output", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)

    def answer(document: object) -> None:
        set_soft(math.inf)
        sys.stdout.flush()
        file = folder / f"{name}.json"
        file.write_text(json.dumps(document), encoding="utf-8")
        os._exit(0)  # threads and clean-ups that a leak left would hold up an exit

    work(answer)


def _drive_fixed(lab: Lab, folder: Path, answer: Answer) -> None:
    directory = Path(tempfile.mkdtemp(dir=folder))
    Drive(lab, lab.fixed, directory, lambda driven: answer(asdict(driven))).run()


def _drive_copy(lab: Lab, copy: Path, folder: Path, answer: Answer) -> None:
    directory = Path(tempfile.mkdtemp(dir=folder))
    file = str(copy.resolve())
    forks: list[str] = []
    watch_forks(file, forks)

    def showed(driven: Driven) -> None:
        document = asdict(driven)
        if forks:
            document["broken"] = (
                f"it forks the process at {forks[0]}; a copy of the whole process goes on from "
                "there with everything that is open: do without"
            )
        answer(document)

    try:
        with within(BEHAVIOUR_S, file):
            subject = load(copy, lab.leaky)
    except BaseException as error:  # noqa: BLE001 - a copy may raise anything
        showed(Driven(broken=told("importing it", error, file)))
        return
    Drive(lab, subject, directory, showed).run()


def _behave(lab: Lab, copy: Path, folder: Path, answer: Answer) -> None:
    """Answer with what each behaviour asks for, and what it says."""
    watch_forks(str(copy.resolve()), [])
    try:
        with within(BEHAVIOUR_S, str(copy.resolve())):
            subject = load(copy, lab.leaky)
    except BaseException:  # noqa: BLE001 - the drive tells it
        answer([])
        return
    wanted = exercise(lab)
    with limited(wanted.fd_limit):
        answer([(asked_for(each), _tested(each, subject, folder)) for each in wanted.behaviours])


def asked_for(behaviour: Behaviour) -> str:
    """Return what a behaviour asks for: the first line of its docstring."""
    return (behaviour.__doc__ or behaviour.__name__).strip().splitlines()[0].rstrip(".")


def _tested(behaviour: Behaviour, subject: ModuleType, folder: Path) -> str | None:
    directory = Path(tempfile.mkdtemp(dir=folder))
    try:
        with within(BEHAVIOUR_S, str(subject.__file__)):
            return behaviour(subject, directory)
    except BaseException as error:  # noqa: BLE001 - a copy may raise anything
        return told(f"the test that {asked_for(behaviour)}", error, str(subject.__file__))
