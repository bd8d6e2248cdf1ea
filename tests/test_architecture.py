"""Who may import whom, and that nothing happens at import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import ROOT

MODULES = sorted(
    path.relative_to(ROOT)
    for room in ("harness", "labs", "leaky", "fixed")
    for path in (ROOT / room).rglob("*.py")
)
HARNESS = [path for path in MODULES if path.parts[0] == "harness"]
SUBJECTS = [path for path in MODULES if path.parts[0] in ("leaky", "fixed")]
CLIENTS = {"httpx", "httpcore", "sqlalchemy"}
HEAVY = {
    "aiohttp",
    "rich",
    "tabulate",
    "google",
    "psutil",
    "httpx",
    "sqlalchemy",
    "prometheus_client",
    "matplotlib",
    "playwright",
}
SERVING = {
    Path("harness/metrics.py"),
    Path("harness/page/routes.py"),
    Path("harness/pprof/guard.py"),
    Path("harness/pprof/routes.py"),
}
"""The debug server's pages: they are imported when it is started, and only then."""
NOTHING_OF_OURS = {"model", "clock", "reserve", "terminal", "errors", "limits", "workdir", "stops"}
ALLOWED = {
    "verdict": {"model"},
    "runner": {"model", "errors", "clock", "samples", "verdict"},
    "samples": {"model"},
    "gauges": {"model"},
    "console": {"model", "terminal"},
    "table": {"model", "console", "gauges", "terminal"},
    "jsonlines": {"model", "gauges", "terminal"},
    "listing": {"model", "patience", "probes"},
    "cli": {"model", "errors", "command"},
}


def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def imports(path: Path, node: ast.AST) -> Iterator[str]:
    """Yield the full name of everything that the statements below `node` import."""
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            yield from (name.name for name in each.names)
        elif isinstance(each, ast.ImportFrom):
            package = list(path.parts[:-1])[: len(path.parts) - each.level] if each.level else []
            base = ".".join([*package, *([each.module] if each.module else [])])
            yield from (f"{base}.{name.name}" for name in each.names)


def at_import(path: Path) -> Iterator[str]:
    """Yield what a module imports as it is imported: not in functions, not for types only."""
    for statement in tree(path).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from imports(path, statement)


def at_import_modules(path: Path) -> Iterator[str]:
    """Yield the modules that a module imports from as it is imported."""
    return (name.rpartition(".")[0] for name in at_import(path))


def rooms(path: Path) -> set[str]:
    """Return the modules of the harness that a module of it imports, also lazily."""
    found = (name.split(".") for name in imports(path, tree(path)))
    return {parts[1] for parts in found if parts[0] == "harness" and len(parts) > 1}


def top(names: Iterator[str]) -> set[str]:
    """Return the top-level packages of imported names."""
    return {name.partition(".")[0] for name in names}


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", HARNESS, ids=str)
def test_the_harness_knows_no_lab_and_no_client_library(path):
    """It must run beside any version of them in a user's environment."""
    assert not top(imports(path, tree(path))) & {"labs", "leaky", "fixed", "tests", *CLIENTS}


@pytest.mark.parametrize("path", HARNESS, ids=str)
def test_no_word_of_the_harness_names_a_lab(path):
    """Neither in its code nor in its texts: a new lab needs no edit here."""
    labs = {lab.stem for lab in (ROOT / "labs").glob("*_*.py") if not lab.stem.startswith("__")}
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not [lab for lab in labs if lab in text]


@pytest.mark.parametrize("path", SUBJECTS, ids=str)
def test_a_subject_imports_the_standard_library_and_at_most_one_client(path):
    """They read as code that anyone might have written, and know nothing of the instrument."""
    foreign = top(imports(path, tree(path))) - sys.stdlib_module_names
    assert len(foreign) <= 1
    assert not foreign & {"harness", "labs", "leaky", "fixed"}


@pytest.mark.parametrize("room", sorted(NOTHING_OF_OURS))
def test_the_ground_floor_imports_nothing_of_ours(room):
    """But for the errors and types that all share."""
    assert rooms(Path("harness", f"{room}.py")) <= {"errors", "model"} - {room}


def test_the_model_imports_nothing_of_ours():
    """Not even those."""
    assert rooms(Path("harness/model.py")) == set()


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_each_room_imports_only_from_below(room):
    """The runner, the renderers and the verdict stand on the model."""
    path = Path("harness", f"{room}.py")
    lazily = {"compare", "plot", "single", "stops"} if room == "cli" else set()
    assert rooms(path) <= ALLOWED[room] | lazily


@pytest.mark.parametrize(
    "path", sorted(Path(ROOT, "harness/probes").glob("*.py")), ids=lambda p: p.stem
)
def test_probes_stand_on_the_model_alone(path):
    """One question to the operating system each."""
    assert rooms(path.relative_to(ROOT)) <= {"model", "probes"}


@pytest.mark.parametrize("path", [path for path in HARNESS if path not in SERVING], ids=str)
def test_heavy_imports_are_lazy(path):
    """What takes tenths of a second is imported by the function that needs it."""
    assert not top(at_import(path)) & HEAVY
    assert not {name_of(page) for page in SERVING} & set(at_import_modules(path))


def test_importing_every_module_does_nothing():
    """No file, thread, process, signal handler, line of output, nor a heavy library."""
    names = [
        name_of(path) for path in HARNESS if path.name != "__main__.py" and path not in SERVING
    ]
    code = f"""
import importlib, os, signal, sys, threading
before = set(os.listdir("/dev/fd")), signal.getsignal(signal.SIGTERM), sorted(os.environ)
for name in {names!r}:
    importlib.import_module(name)
after = set(os.listdir("/dev/fd")), signal.getsignal(signal.SIGTERM), sorted(os.environ)
assert before == after, (before, after)
assert threading.active_count() == 1, threading.enumerate()
heavy = {HEAVY!r} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


DOES_NOTHING = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_only_defines(path):
    """Its top level holds imports, definitions, constants and the `__main__` guard."""
    for statement in tree(path).body:
        if isinstance(statement, ast.Expr):
            assert isinstance(statement.value, ast.Constant), ast.unparse(statement)
        elif isinstance(statement, ast.With):  # says which extra an import needs
            assert all(isinstance(each, ast.Import | ast.ImportFrom) for each in statement.body)
        elif isinstance(statement, ast.If):
            assert ast.unparse(statement.test) in ("__name__ == '__main__'", "TYPE_CHECKING") or (
                "sys." in ast.unparse(statement.test)
            )
        else:
            allowed = (*DOES_NOTHING, ast.Assign, ast.AnnAssign, ast.Try)
            assert isinstance(statement, allowed), ast.unparse(statement)
