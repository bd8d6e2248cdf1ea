"""The child process of a check: drives the fixed twin and copies of the leaky one, each in a fork.

Not for calling directly: `labs.course.judge` starts it with its orders as JSON. A fork costs
milliseconds where a new interpreter with all imports costs tenths of a second, and whatever a copy
does to its process is done to nobody else.
"""

import gc
import importlib
import json
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import ModuleType

from harness.errors import UsageError
from harness.imports import quickly
from harness.limits import limited, set_soft
from harness.mine import load
from harness.model import Behaviour, Lab
from harness.patience import TICK_S, Patience
from harness.probes.threads import starved_s

from . import catalogue
from .alarm import Hung, within
from .drive import Drive, Driven, exercise
from .endings import told, watch_forks

LIMIT_S, BEHAVIOURS_S = 5.0, 8.0
"""What has not ended when it could have run for so long is ended: a drive, and all behaviours."""
BEHAVIOUR_S = 2.0
"""A behaviour that takes longer hangs: a few take half a second of waiting, or start commands."""
BROKEN = 3
"""The exit code of a drive that did not get to its end."""
Answer = Callable[[object], None]
Work = Callable[[Answer], None]
_fork = multiprocessing.get_context("fork").Process


def main() -> None:
    """Do as the orders say: `lab`, paths of `copies`, the `folder` for answers.

    Answers are files there: `reference.json`, and for each copy, by its position, `N.drive.json`
    and `N.behave.json`, with `N.ended.json` for the exit codes and `N.drive.output` for what it
    printed; or `refused.json`, if the lab cannot be judged.
    """
    orders = json.loads(sys.argv.pop())
    folder = Path(orders["folder"])
    _read_no_certificates(folder)
    try:
        with quickly():
            lab = catalogue.load(orders["lab"])
            _import(exercise(lab).imports)
    except UsageError as error:
        (folder / "refused.json").write_text(json.dumps(str(error)), encoding="utf-8")
        return
    reference = _started(partial(_drive_fixed, lab, folder), folder, "reference")
    for number, copy in enumerate(map(Path, orders["copies"])):
        drive = _started(partial(_drive_copy, lab, copy, folder), folder, f"{number}.drive")
        behave = _started(partial(_behave, lab, copy, folder), folder, f"{number}.behave")
        codes = _ended(reference, drive, behave)
        (folder / f"{number}.ended.json").write_text(json.dumps(codes), encoding="utf-8")
        if number == 0 and len(orders["copies"]) > 1:
            with suppress(OSError):
                _import(json.loads((folder / "reference.modules.json").read_text("utf-8")))
    reference.kill()


def _read_no_certificates(folder: Path) -> None:
    """Let clients look for root certificates in `folder` when they need one.

    A client reads all of the world's as it is made, in 30 ms; the labs' speak plain HTTP.
    """
    os.environ.pop("SSL_CERT_FILE", None)
    os.environ["SSL_CERT_DIR"] = str(folder)


def _import(names: Iterable[str]) -> None:
    """Import modules for all forks to come, which have none of what is there by then to collect."""
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()


def _started(work: Work, folder: Path, name: str) -> ForkProcess:
    process = _fork(target=_run, args=(work, folder, name))
    process.start()
    return process


def _ended(reference: ForkProcess, drive: ForkProcess, behave: ForkProcess) -> list[int | None]:
    """Return the exit codes of a copy's forks; `None` for one that had to be ended.

    What a copy that cannot be driven does besides is not waited for.
    """
    codes = []
    for fork in (drive, reference, behave):
        if fork is drive or drive.exitcode == 0:
            _wait(fork, BEHAVIOURS_S if fork is behave else LIMIT_S)
        codes.append(fork.exitcode)
    for fork in (drive, behave):
        fork.kill()
        fork.join()
    return [codes[0], codes[2]]


def _wait(fork: ForkProcess, limit_s: float) -> None:
    """Wait for a fork, with a limit of its own: how long another one had to wait says nothing."""
    waited = Path(f"/proc/{fork.pid}/schedstat")
    patience = Patience(limit_s, starved_s=lambda: starved_s(waited))
    while fork.is_alive() and patience.lasts():
        fork.join(TICK_S)


def _run(work: Work, folder: Path, name: str) -> None:
    """Do `work` in a fork, with what it prints in a file; end as soon as it has answered."""
    output = os.open(folder / f"{name}.output", os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)

    def answer(document: object) -> None:
        set_soft(math.inf)
        sys.stdout.flush()
        part = folder / f"{name}.part"
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(folder / f"{name}.json")
        broken = isinstance(document, dict) and document["broken"]
        os._exit(
            BROKEN if broken else 0
        )  # threads and clean-ups that a leak left would hold up an exit

    work(answer)


def _drive_fixed(lab: Lab, folder: Path, answer: Answer) -> None:
    directory = Path(tempfile.mkdtemp(dir=folder))
    known = set(sys.modules)

    def showed(driven: Driven) -> None:
        modules = [name for name in sys.modules if name not in known]
        (folder / "reference.modules.json").write_text(json.dumps(modules), encoding="utf-8")
        answer(asdict(driven))

    Drive(lab, lab.fixed, directory, showed).run()


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
    said: list[tuple[str, str | None]] = []
    with limited(wanted.fd_limit):
        for behaviour in wanted.behaviours:
            sentence, hung = _tested(behaviour, subject, folder)
            said.append((asked_for(behaviour), sentence))
            if hung:
                break
    answer(said)


def asked_for(behaviour: Behaviour) -> str:
    """Return what a behaviour asks for: the first line of its docstring."""
    return (behaviour.__doc__ or behaviour.__name__).strip().splitlines()[0].rstrip(".")


def _tested(behaviour: Behaviour, subject: ModuleType, folder: Path) -> tuple[str | None, bool]:
    """Return what a behaviour says, and whether it hung: each that does takes its whole limit."""
    directory = Path(tempfile.mkdtemp(dir=folder))
    gc.collect()  # what the one before left in a cycle would be closed, and counted, in this one
    try:
        with within(BEHAVIOUR_S, str(subject.__file__)):
            return behaviour(subject, directory), False
    except BaseException as error:  # noqa: BLE001 - a copy may raise anything
        what = f'the test "{asked_for(behaviour)}"'
        return told(what, error, str(subject.__file__)), isinstance(error, Hung)
