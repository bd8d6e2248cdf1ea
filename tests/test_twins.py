"""The contract of every pair of twins, held for each lab that stands in labs/."""

import ast
import asyncio
import difflib
import gc
import importlib
import inspect
import math
import pkgutil
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import ModuleType

import pytest
from running import ROOT

import labs
from harness.clock import ManualClock
from harness.gauges import OPEN_FDS, TASKS, THREADS
from harness.model import Lab, Run, Sample, Setting, Variant, Workload
from harness.probes import fds, tasks, threads
from harness.runner import Pace, Runner, cancelled_after
from harness.verdict import judge_all

MAX_CHANGED_LINES = 10
REPORTS = 4
OPERATIONS_PER_REPORT = 12
LOOP_PASSES = 10
"""So many passes of the event loop let the other end of a closed connection notice."""


def discover() -> dict[str, Lab]:
    """Return every lab by its name: the modules of labs/ that have a LAB."""
    modules = (importlib.import_module(f"labs.{each.name}") for each in modules_of_labs())
    return {module.LAB.name: module.LAB for module in modules if hasattr(module, "LAB")}


def modules_of_labs():
    """Yield the modules of labs/ but for its command."""
    return (each for each in pkgutil.iter_modules(labs.__path__) if each.name != "__main__")


LABS = discover()
every_lab = pytest.mark.parametrize("lab", LABS.values(), ids=list(LABS))
both = pytest.mark.parametrize("variant", ["leaky", "fixed"])


def source(module: ModuleType) -> ast.Module:
    """Return a subject's syntax tree without docstrings."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            body[:1] = [] if len(body) > 1 else [ast.Pass()]
    return tree


def code_lines(module: ModuleType) -> list[str]:
    """Return a subject's lines of code: no docstrings, comments or blank lines.

    Statements are counted as they are laid out in the source, so that a wrapped line is two.
    """
    lines = inspect.getsource(module).splitlines()
    numbers = {
        number
        for node in ast.walk(source(module))
        if hasattr(node, "lineno")
        for number in (node.lineno, node.end_lineno if isinstance(node, ast.expr) else node.lineno)
    }
    return [lines[number - 1].partition("  # ")[0].rstrip() for number in sorted(numbers)]


def public_api(owner: object) -> dict[str, object]:
    """Return the public names that a module or class defines, with their signatures."""
    names = {
        name: value
        for name, value in vars(owner).items()
        if (not name.startswith("_") or name == "__init__") and is_own(owner, value)
    }
    return {
        name: public_api(value) if inspect.isclass(value) else signature(value)
        for name, value in names.items()
        if callable(value)
    }


def signature(function) -> str:
    """Return a function's signature; the classes of its own module have no module in it."""
    return str(inspect.signature(function)).replace(f"{function.__module__}.", "")


def is_own(owner: object, value: object) -> bool:
    """Tell whether `value` was defined in `owner`'s module."""
    module = getattr(owner, "__module__", getattr(owner, "__name__", None))
    return getattr(value, "__module__", None) == module


@every_lab
def test_twins_have_the_same_public_names_and_signatures(lab):
    """Whoever calls the one can call the other."""
    assert public_api(lab.leaky)
    assert public_api(lab.leaky) == public_api(lab.fixed)


@every_lab
def test_the_fix_is_about_ten_lines(lab):
    """The larger of the lines taken away and those put in, without docstrings and comments."""
    leaky, fixed = code_lines(lab.leaky), code_lines(lab.fixed)
    diff = [line[0] for line in difflib.ndiff(leaky, fixed)]
    changed = max(diff.count("-"), diff.count("+"))
    assert 0 < changed <= MAX_CHANGED_LINES


@every_lab
@both
def test_a_twin_is_plain_code(lab, variant):
    """It does not print, sleep or pace; what drives and judges it stands elsewhere."""
    for node in ast.walk(source(getattr(lab, variant))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "time.sleep", "asyncio.sleep", "sleep"), called
            assert not called.startswith(("sys.stdout", "sys.stderr", "resource.")), called


@every_lab
def test_a_lab_is_three_files_of_one_name(lab):
    """`leaky/NAME.py`, `fixed/NAME.py` and `labs/NAME.py`; there is no registry to edit."""
    assert (lab.leaky.__name__, lab.fixed.__name__) == (f"leaky.{lab.name}", f"fixed.{lab.name}")
    assert (ROOT / "labs" / f"{lab.name}.py").is_file()


@dataclass
class Performance:
    """What a subject did: what each operation gave, and the samples at the reports."""

    results: list[object]
    samples: tuple[Sample, ...]


class Stage:
    """Drives a subject with its lab's own workload, on a clock that nobody waits for."""

    def __init__(self, lab: Lab, subject: ModuleType, directory) -> None:
        self.lab = lab
        self.subject = subject
        options = {option.key: 0 if option.is_port else option.default for option in lab.options}
        self.setting = Setting(directory, options)
        self.results: list[object] = []

    def perform(self) -> Performance:
        """Make the operations of four reports; return results and samples."""
        gc.collect()  # what other tests left in cycles must not be given back between two reports
        context = self.lab.workload(self.subject, self.setting)
        if isinstance(context, AbstractAsyncContextManager):
            return Performance(self.results, asyncio.run(self._async(context)))
        with context as workload:
            runner = self._runner(workload)
            runner.drive(self._recorded(workload), self._pace().steps())
        return Performance(self.results, runner.run.samples)

    async def _async(self, context) -> tuple[Sample, ...]:
        async with context as workload, cancelled_after() as under_way:
            runner, recorded = self._runner(workload), self._recorded_async(workload)
            await runner.drive_async(recorded, self._pace().steps(), under_way)
        return runner.run.samples

    def _pace(self) -> Pace:
        return Pace(OPERATIONS_PER_REPORT, 1, REPORTS)

    def _recorded(self, workload: Workload) -> Workload:
        return Workload(lambda number: self.results.append(workload.operate(number)))

    def _recorded_async(self, workload: Workload) -> Workload:
        async def operate(number: int) -> None:
            made = workload.operate(number)
            self.results.append(await made if inspect.isawaitable(made) else made)

        return Workload(operate)

    def _runner(self, workload: Workload) -> Runner:
        readings = {OPEN_FDS: fds.count, THREADS: threads.count, TASKS: tasks.count}
        readings |= workload.readings
        run = Run(self.lab.name, Variant.LEAKY, 0, self.lab.rate_hz, None)
        clock = PatientClock()
        runner = Runner(run, self.lab.judged, readings, [], clock, dict, tuple, pytest.fail)
        runner.start()
        return runner


class PatientClock(ManualClock):
    """A clock by hand that lets operations under way finish before it goes on."""

    async def wait_until_async(self, due_s: float) -> None:
        """Wait for the tasks of operations and what they set off, then turn the clock."""
        while any(task.get_name() == "operation" for task in asyncio.all_tasks()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        for _ in range(LOOP_PASSES):
            await asyncio.sleep(0)
        await super().wait_until_async(due_s)


@pytest.fixture(scope="module")
def performances(tmp_path_factory):
    """Return what both subjects of a lab did, each performed once."""
    known: dict[str, dict[str, Performance]] = {}

    def get(lab: Lab) -> dict[str, Performance]:
        if lab.name not in known:
            known[lab.name] = {
                variant: Stage(
                    lab, getattr(lab, variant), tmp_path_factory.mktemp(variant)
                ).perform()
                for variant in ("leaky", "fixed")
            }
        return known[lab.name]

    return get


@every_lab
def test_twins_give_the_same_results(lab, performances):
    """Each operation returns the same from both: the leak is the only difference."""
    leaky, fixed = performances(lab).values()
    assert len(leaky.results) == REPORTS * OPERATIONS_PER_REPORT
    assert leaky.results == fixed.results


@every_lab
def test_results_say_something(lab, performances):
    """A workload whose operations return nothing would make the comparison hollow."""
    assert any(result is not None for result in performances(lab)["leaky"].results)


@every_lab
def test_the_leaky_twin_grows_with_every_report(lab, performances):
    """The gauge that the lab watches shows it, and the verdict finds it."""
    verdict = judge_all(performances(lab)["leaky"].samples, lab.judged)
    assert verdict.leaking is True, verdict
    assert verdict.growth_per_operation > 0


@every_lab
def test_the_fixed_twin_stays_flat(lab, performances):
    """After as many operations it holds no more than at its first report."""
    verdict = judge_all(performances(lab)["fixed"].samples, lab.judged)
    assert verdict.leaking is False, verdict
    assert math.isclose(verdict.growth_per_operation, 0)


def test_the_first_lab_is_discovered():
    """An empty discovery would pass every test above."""
    assert "file_leak" in LABS


def test_status_pages_agree(tmp_path):
    """The aggregator's other observable result: the names of its last files, in both."""
    lab = LABS["file_leak"]
    pages = []
    for subject in (lab.leaky, lab.fixed):
        aggregator = subject.LogAggregator(tmp_path)
        stored = [aggregator.store(batch, "é" * batch) for batch in range(22)]
        text = [(tmp_path / name).read_text("utf-8") for name in aggregator.recent()]
        pages.append((stored, aggregator.recent(), text))
    assert pages[0] == pages[1]
    stored, names, text = pages[0]
    assert stored == [2 * batch for batch in range(22)]
    assert names == [f"logfile_{batch}.txt" for batch in range(2, 22)]
    assert text == ["é" * batch for batch in range(2, 22)]
