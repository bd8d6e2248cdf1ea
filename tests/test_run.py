"""`harness run` runs a program as Python would, and tells what it leaves open."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import zipapp
from pathlib import Path

import pytest

LEAK = """\
import os, sys
KEPT = []
def leak():
    KEPT.append(open(os.devnull))
for _ in range(int(sys.argv[1])):
    leak()
"""


def start(*words, cwd, **options):
    """Start `harness run` with these words in directory `cwd`."""
    arguments = [sys.executable, "-m", "harness", "run", *map(str, words)]
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(
        arguments, cwd=cwd, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def run(*words, cwd, **options):
    """Return the exit status, output and errors of `harness run` with these words."""
    process = start(*words, cwd=cwd, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture
def program(tmp_path):
    """Write a program into a directory of its own."""

    def write(text, name="program.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_names_line_function_and_holder_at_exit(program, tmp_path):
    """The leak is named by line and function, its caller and who holds it; the status is 0."""
    path = program(LEAK)
    status, _, err = run(path, 5, cwd=tmp_path)
    assert status == 0
    assert "5 resources open at exit" in err
    assert "5 files opened at program.py:4 in leak" in err
    assert "called from program.py:6 in <module>" in err
    assert "held by __main__.KEPT (list, 5 items)" in err


def test_says_nothing_is_open_for_the_fix(program, tmp_path):
    """A program that closes what it opens leaves nothing, and passes --fail-on-leak."""
    path = program("with open(__file__) as file:\n    file.read()\n")
    status, _, err = run("--fail-on-leak", path, cwd=tmp_path)
    assert (status, err.splitlines()[0][:33]) == (0, "[harness] 0 resources open at exi")


SHOWN = "import sys; print(sys.argv, __name__, __file__, sys.path[0], __package__, __spec__)\n"


def test_the_program_sees_what_it_would_see(program, tmp_path):
    """Arguments, name, file, path and package are those that Python itself gives."""
    path = program(SHOWN)
    bare = subprocess.run(
        [sys.executable, "program.py", "--report", "-x"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run("program.py", "--report", "-x", cwd=tmp_path)[1] == bare.stdout
    assert path.exists()


def test_runs_a_module_as_python_does(program, tmp_path):
    """With -m, a package's __main__ runs with the spec and arguments that Python gives it."""
    (tmp_path / "package").mkdir()
    program(
        "import sys; print(sys.argv, __name__, __package__, __spec__.name)\n", "package/__main__.py"
    )
    bare = subprocess.run(
        [sys.executable, "-m", "package", "a"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run("-m", "package", "a", cwd=tmp_path)[1] == bare.stdout != ""


def without_addresses(text):
    """Mask where in memory an object happens to be."""
    return re.sub(r"0x[0-9a-f]+", "0x", text)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_runs_a_folder_or_a_zip_file_as_python_does(packed, program, tmp_path):
    """Their `__main__.py` gets the path, name and spec that Python gives it, and is judged."""
    (tmp_path / "app").mkdir()
    program(SHOWN + "KEPT = open(sys.argv[1])\n", "app/__main__.py")
    name = "app"
    if packed:
        zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
        name = "app.pyz"
    bare = subprocess.run(
        [sys.executable, name, os.devnull], cwd=tmp_path, capture_output=True, text=True
    )
    status, out, err = run(name, os.devnull, cwd=tmp_path)
    assert (status, without_addresses(out)) == (0, without_addresses(bare.stdout))
    assert "1 file opened at" in err and "__main__.py:2 in <module>" in err


@pytest.mark.parametrize(
    ("text", "status"),
    [("raise SystemExit(7)", 7), ("1 / 0", 1), ("import os; os._exit(3)", 3), ("", 0)],
)
def test_the_exit_status_is_the_programs(program, tmp_path, text, status):
    """However the program ends, its status is the command's."""
    assert run(program(text), cwd=tmp_path)[0] == status


def test_ends_by_ctrl_c_as_python_does(program, tmp_path):
    """An interrupted program dies of the signal, after its last dump."""
    path = program("import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)\n")
    process = start(path, cwd=tmp_path)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err and "open at exit" in err


@pytest.mark.parametrize("text", ["open('missing')\n", "def f():\n    f()\nf()\n", "x = (\n"])
def test_tracebacks_are_the_programs_alone(program, tmp_path, text):
    """An uncaught exception is shown as without the command: no frame of ours is in it."""
    path = program(text)
    bare = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True)
    status, _, err = run(path, cwd=tmp_path)
    assert status == 1
    assert err.startswith(bare.stderr.rpartition("\n  [Previous")[0] or bare.stderr)


@pytest.mark.parametrize("words", [["app"], ["-m", "app"], ["-m", "app.broken"], ["-m", "fails.x"]])
def test_what_is_wrong_with_a_module_is_shown_as_the_programs_alone(words, program, tmp_path):
    """A syntax error of the module's, or an error of its package's: no frame of ours is in it."""
    for folder in ("app", "fails"):
        (tmp_path / folder).mkdir()
    program("x = (\n", "app/__main__.py")
    program("x = (\n", "app/broken.py")
    program("1 / 0\n", "fails/__init__.py")
    status, _, err = run(*words, cwd=tmp_path)
    assert status == 1
    assert "SyntaxError: '(' was never closed" in err or "ZeroDivisionError" in err
    assert "harness" not in err


def test_what_a_modules_package_opens_is_open_too(program, tmp_path):
    """With -m Python imports the package first; its leak is named as the module's is."""
    (tmp_path / "app").mkdir()
    program("import os\nKEPT = [open(os.devnull)]\n", "app/__init__.py")
    program("", "app/tool.py")
    _, _, err = run("-m", "app.tool", cwd=tmp_path)
    assert "1 file opened at app/__init__.py:2 in <module>" in err
    assert "held by app.KEPT (list, 1 item) → TextIOWrapper" in err


AT_THE_END = """
import atexit, os, signal, sys, tempfile
FOLDER = tempfile.TemporaryDirectory(dir=os.getcwd())
KEPT = [open(os.devnull) for _ in range(3)]
atexit.register(lambda: [print("closed", flush=True), *(each.close() for each in KEPT)])
"""


def test_exit_handlers_run_before_the_last_dump_also_after_ctrl_c(program, tmp_path):
    """What they close and remove is neither open nor left."""
    path = program(AT_THE_END + "raise KeyboardInterrupt\n")
    status, out, err = run("--fail-on-leak", path, cwd=tmp_path)
    assert (status, out) == (-signal.SIGINT, "closed\n")
    assert "[harness] 0 resources open at exit" in err
    assert [each.name for each in tmp_path.iterdir()] == ["program.py"]


def test_exit_handlers_of_a_modules_package_run_before_the_last_dump(program, tmp_path):
    """Python imports it before the module: it is the program's all the same."""
    (tmp_path / "app").mkdir()
    program(AT_THE_END, "app/__init__.py")
    program("", "app/tool.py")
    status, out, err = run("--fail-on-leak", "-m", "app.tool", cwd=tmp_path)
    assert (status, out) == (0, "closed\n")
    assert "[harness] 0 resources open at exit" in err


def test_log_files_that_logging_closes_at_exit_are_closed(program, tmp_path):
    """Its handler is older than the program: what it closes is no leak."""
    path = program(
        "import logging\nfor n in range(3):\n"
        "    logging.getLogger(f'l{n}').addHandler(logging.FileHandler(f'{n}.log'))\n"
    )
    status, _, err = run("--fail-on-leak", path, cwd=tmp_path)
    assert (status, err.split(",")[0]) == (0, "[harness] 0 resources open at exit")


def test_sigterm_dumps_where_the_program_does_not_take_it(program, tmp_path):
    """Servers are ended so; the report is written, and the death is the signal's."""
    path = program(LEAK + "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.05)\n")
    process = start("--report", "r.txt", path, 3, cwd=tmp_path)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert "[harness] 3 resources open on SIGTERM" in err
    assert "3 files opened at program.py:4 in leak" in (tmp_path / "r.txt").read_text()


def test_a_program_that_takes_sigterm_and_its_forks_are_left_alone(program, tmp_path):
    """A handler that calls the one before it goes on; a forked child dies of it in silence."""
    path = program("""
import os, signal
child = os.fork()
if not child:
    signal.pause()
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
before = signal.getsignal(signal.SIGTERM)
def mine(number, frame):
    if callable(before): before(number, frame)
    raise SystemExit(5)
signal.signal(signal.SIGTERM, mine)
os.kill(os.getpid(), signal.SIGTERM)
""")
    status, out, err = run(path, cwd=tmp_path)
    assert (status, out) == (5, "-15\n")
    assert "SIGTERM" not in err


@pytest.mark.parametrize(
    "to", [["--trace", "t.txt"], ["--report", "r.json"], ["--report", "r.txt"]]
)
def test_a_name_that_is_no_unicode_harms_nothing(to, program, tmp_path):
    """The program opens it as ever; report and trace show its bytes."""
    path = program("KEPT = open(b'\\xff.txt', 'w')\nprint('ok')\n")
    status, out, err = run(*to, path, cwd=tmp_path)
    assert (status, out) == (0, "ok\n")
    assert "Traceback" not in err
    assert "udcff.txt" in (tmp_path / to[1]).read_text()


BROKEN_HOOKS = {
    "raises": "def hook(*_): raise RuntimeError('hook broke')\nsys.excepthook = hook",
    "none": "sys.excepthook = None",
}


@pytest.mark.parametrize("name", BROKEN_HOOKS)
def test_a_hook_that_is_broken_is_told_as_python_tells_it(name, program, tmp_path):
    """Both errors are shown, without a frame of ours."""
    path = program(f"import sys\n{BROKEN_HOOKS[name]}\n1 / 0\n")
    bare = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True)
    status, _, err = run(path, cwd=tmp_path)
    assert status == bare.returncode == 1
    assert err.startswith(bare.stderr)


def test_an_exception_that_cannot_be_changed_is_shown(program, tmp_path):
    """Its class refuses to set any attribute."""
    path = program(
        "import dataclasses\n@dataclasses.dataclass(frozen=True)\n"
        "class Err(Exception): code: int\nraise Err(3)\n"
    )
    bare = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True)
    status, _, err = run(path, cwd=tmp_path)
    assert status == 1
    assert err.startswith(bare.stderr)


def test_both_ends_of_a_pipe_and_of_a_pair_are_one_opening(program, tmp_path):
    """One of each is no growth; two are."""
    line = "KEPT.append((os.pipe(), socket.socketpair()))\n"
    once = program(f"import os, socket\nKEPT = []\n{line}")
    status, _, err = run("--fail-on-leak", once, cwd=tmp_path)
    assert status == 0, err
    twice = program(f"import os, socket\nKEPT = []\nfor _ in range(2):\n    {line}")
    assert run("--fail-on-leak", twice, cwd=tmp_path)[0] == 1


def test_a_package_that_lacks_something_shows_where(program, tmp_path):
    """That is an error of the program's, and not that there is no such module."""
    (tmp_path / "app").mkdir()
    program("import no_such_thing\n", "app/__init__.py")
    status, _, err = run("-m", "app", cwd=tmp_path)
    assert status == 1
    assert 'app/__init__.py", line 1, in <module>' in err
    assert "harness" not in err


def test_a_file_beside_the_program_may_have_the_name_of_what_we_import(program, tmp_path):
    """It lies in the current folder, which is no place to look for modules of the instrument."""
    program("raise SystemExit('not this one')\n", "resource.py")
    status, _, err = run(program(""), cwd=tmp_path)
    assert (status, err.split(",")[0]) == (0, "[harness] 0 resources open at exit")


def test_a_module_of_the_program_may_have_the_name_of_what_we_import(program, tmp_path):
    """The program imports its own, as without the command."""
    for name in ("inspect", "argparse", "resource"):
        program(f"NAME = 'our {name}'\n", f"{name}.py")
    path = program("import argparse, inspect, resource\n"
                   "print(argparse.NAME, inspect.NAME, resource.NAME)\n")  # fmt: skip
    status, out, err = run(path, cwd=tmp_path)
    assert (status, out) == (0, "our argparse our inspect our resource\n")
    assert err.startswith("[harness] 0 resources open at exit")


def test_a_program_without_stderr_runs(program, tmp_path):
    """There is nowhere to tell anything; --http tells it to whoever asks."""
    path = program("print('ran', flush=True)\n")
    words = " ".join(map(str, (sys.executable, "-m", "harness", "run", "--http", 0, path)))
    done = subprocess.run(
        ["sh", "-c", f"{words} 2>&-"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_forked_children_are_told_of(program, tmp_path):
    """A server of several processes does its work in those: a clean parent says nothing of them."""
    path = program("""
import os
for _ in range(2):
    if not (child := os.fork()):
        os._exit(0)
    os.waitpid(child, 0)
""")
    err = run(path, cwd=tmp_path)[2]
    assert err.endswith("\n[harness] 2 children were forked: what they open is not seen\n")
    assert (
        "forked" not in run(program("import subprocess; subprocess.run('true')"), cwd=tmp_path)[2]
    )


def test_what_a_forked_child_opens_is_not_traced(program, tmp_path):
    """Nobody would see it closed."""
    path = program("""
import os
child = os.fork()
if not child:
    open(os.devnull).close()
    os._exit(0)
os.waitpid(child, 0)
open(__file__).close()
""")
    run("--trace", "t.txt", path, cwd=tmp_path)
    traced = (tmp_path / "t.txt").read_text()
    assert "program.py" in traced and os.devnull not in traced


def test_fails_on_what_grew(program, tmp_path):
    """With --fail-on-leak several of one line that are open give 1; one alone is no growth."""
    path = program(LEAK)
    assert run("--fail-on-leak", path, 5, cwd=tmp_path)[0] == 1
    assert run("--fail-on-leak", path, 1, cwd=tmp_path)[0] == 0


def test_dumps_when_descriptors_run_out(program, tmp_path):
    """At "too many open files" the leak is named, though nothing can be opened any more."""
    path = program("import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))\n" + LEAK)
    status, _, err = run("--report", "last.json", path, 100, cwd=tmp_path)
    dump = err.partition("Traceback")[0]
    assert "open at 'too many open files'" in dump
    assert "files opened at program.py:6 in leak" in dump
    assert "OSError: [Errno 24]" in err
    assert status == 1
    assert json.loads((tmp_path / "last.json").read_text())["open"] > 30


def test_dumps_once_at_a_threshold(program, tmp_path):
    """Crossing the threshold dumps once, with what is open then."""
    err = run("--threshold", 30, program(LEAK), 60, cwd=tmp_path)[2]
    assert err.count("at the threshold of 30 descriptors") == 1
    assert "60 resources open at exit" in err


def test_dumps_on_a_signal(program, tmp_path):
    """SIGUSR1 asks a running program what it has open."""
    path = program(LEAK + "print('ready', flush=True)\ninput()\n")
    process = start(path, 3, cwd=tmp_path)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGUSR1)
    assert process.stderr.readline().startswith("[harness] 3 resources open on SIGUSR1")
    process.communicate("\n", timeout=30)


def test_serves_what_is_open(program, tmp_path):
    """Over HTTP a running program tells what it has open, and not what the server has."""
    process = start("--http", 0, program(LEAK + "input()\n"), 3, cwd=tmp_path)
    address = process.stderr.readline().split()[-1]
    document = json.loads(urllib.request.urlopen(f"{address}json", timeout=30).read())
    while document["open"] < 3:
        document = json.loads(urllib.request.urlopen(f"{address}json", timeout=30).read())
    page = urllib.request.urlopen(address, timeout=30).read().decode()
    dump = urllib.request.urlopen(f"{address}goroutines", timeout=30).read().decode()
    process.communicate("\n", timeout=30)
    assert [(group["kind"], group["count"]) for group in document["groups"]] == [("file", 3)]
    assert "program.py:4 in leak" in page
    assert "goroutine 1 [" in dump
    assert "debug-server" not in dump


def test_traces_openings_and_closings(program, tmp_path):
    """A trace has a line for each opening, and one for what has been closed since."""
    path = program("kept = open(__file__)\nfor _ in range(3):\n    open(__file__).close()\n")
    run("--trace", "trace.txt", path, cwd=tmp_path)
    lines = (tmp_path / "trace.txt").read_text().splitlines()
    assert sum(" + file" in line and line.endswith(":3 in <module>") for line in lines) == 3
    assert sum(" - file" in line and line.endswith(":3 in <module>") for line in lines) == 3
    assert sum(line.endswith(":1 in <module>") for line in lines) == 1


@pytest.mark.parametrize("ending", ["json", "html", "txt"])
def test_writes_a_report(program, tmp_path, ending):
    """The last dump goes to a file in the format that its name asks for."""
    run("--report", f"out.{ending}", program(LEAK), 2, cwd=tmp_path)
    text = (tmp_path / f"out.{ending}").read_text()
    assert text.startswith({"json": "{", "html": "<!doctype html>", "txt": "[harness] 2"}[ending])
    assert "program.py" in text and "KEPT" in text


def test_excludes(program, tmp_path):
    """What matches a pattern is not reported and no leak."""
    status, _, err = run("--fail-on-leak", "--exclude", "/dev/*", program(LEAK), 5, cwd=tmp_path)
    assert (status, "0 resources open at exit" in err) == (0, True)


def test_descriptors_have_the_numbers_they_would_have(program, tmp_path):
    """Report, trace and server take none of the low numbers that the program would get."""
    path = program("import os\nprint(os.open(os.devnull, os.O_RDONLY))\n")
    bare = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True)
    options = ("--report", "r.json", "--trace", "t.txt", "--http", 0)
    assert run(*options, path, cwd=tmp_path)[1] == bare.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.py"], "missing.py: no such file"),
        (["-m", "missing"], "-m missing: no such module"),
        (["."], ".: no __main__.py in it; give a script"),
        (["--report", "out.pdf", "x.py"], "out.pdf: the ending must be one of .json, .html, .txt"),
        (["--trace", "no/such/folder", "x.py"], "cannot be written: No such file"),
        (["--threshold", "none", "x.py"], "none is not a whole number from 1"),
        (["--http", "70000", "x.py"], "--http: 70000 is not a whole number"),
        ([], "nothing to run"),
        (["-m"], "nothing to run"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(tmp_path, words, said):
    """A mistake of the user's gives status 2 and one line that says what to do."""
    (tmp_path / "x.py").write_text("")
    status, _, err = run(*words, cwd=tmp_path)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_folder_that_is_gone_hides_no_leak(program, tmp_path):
    """The program has left, and removed, the folder that it was in."""
    path = program(
        "import os, tempfile\nKEPT = [open(os.devnull) for _ in range(3)]\n"
        "with tempfile.TemporaryDirectory() as folder: os.chdir(folder)\n"
    )
    status, _, err = run("--fail-on-leak", path, cwd=tmp_path)
    assert (status, err.splitlines()[0][:31]) == (1, "[harness] 3 resources open at e")


DAEMON = "import os\nos.closerange(3, 2048)\nlog = open('log', 'w')\nprint('works')\n"


def test_a_program_that_closes_all_descriptors_closes_only_its_own(program, tmp_path):
    """As daemons do: the report is written anew, nothing of ours gets into its files."""
    path = program(DAEMON)
    words = "--trace", "trace.txt", "--report", "open.json"
    status, out, err = run(*words, path, cwd=tmp_path)
    assert (status, out, err.count("Traceback")) == (0, "works\n", 0)
    assert json.loads((tmp_path / "open.json").read_text())["open"] == 1
    assert (tmp_path / "log").read_text() == ""


def test_the_report_is_the_last_dump_also_of_a_program_that_is_killed(program, tmp_path):
    """It is written at each dump."""
    path = program(
        "import os, signal\nkept = open(os.devnull)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    status, _, _ = run("--report", "open.json", path, cwd=tmp_path)
    report = json.loads((tmp_path / "open.json").read_text())
    assert (status, report["reason"], report["open"]) == (-signal.SIGKILL, "on SIGUSR1", 1)


BUSY = """\
import sys
kept = open(__file__)
print("on", flush=True)
for _ in range(300):
    sys.stderr.write("x" * 1000 + "\\n")
print("finished", flush=True)
"""


def test_a_signal_in_the_middle_of_a_write_harms_nothing(program, tmp_path):
    """The program writes to a full pipe as it is asked for a dump."""
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    environment = buffered | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    line = [sys.executable, "-m", "harness", "run", program(BUSY)]
    with subprocess.Popen(
        line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"on\n"
        wait_until(lambda: waits_in_write(process.pid))
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"finished\n")
    assert b"1 resource open on SIGUSR1" in err


def waits_in_write(pid):
    """Tell whether a process sleeps, as it does when a pipe is full."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def wait_until(holds):
    """Wait until `holds()`, for half a minute at most."""
    deadline_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_groups_tracebacks_are_the_programs_alone(program, tmp_path):
    """Each of an ExceptionGroup's has none of our frames."""
    path = program(
        "import asyncio\nasync def opens(): open('/nope')\nasync def main():\n"
        "    async with asyncio.TaskGroup() as group: group.create_task(opens())\n"
        "asyncio.run(main())\n"
    )
    status, _, err = run(path, cwd=tmp_path)
    assert (status, "/harness/" in err) == (1, False)
    assert "'/nope'" in err


def test_a_database_whose_file_was_removed_is_one_thing(program, tmp_path):
    """Linux writes "(deleted)" behind its name."""
    path = program(
        "import os, sqlite3\nkept = sqlite3.connect('a.db')\n"
        "kept.execute('create table a (b)')\nos.unlink('a.db')\n"
    )
    _, _, err = run(path, cwd=tmp_path)
    assert "1 resource open at exit" in err
    assert "1 sqlite3 connection opened at program.py:2" in err


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_multiprocessing_keeps_for_itself_is_no_leak(method, program, tmp_path):
    """Its resource tracker and fork server live as long as the program, which cannot end them."""
    path = program(
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context('{method}')\n"
        "    process = context.Process(target=print)\n"
        "    process.start(); process.join(); process.close()\n"
    )
    status, _, err = run("--fail-on-leak", path, cwd=tmp_path)
    assert (status, err.splitlines()[-1][:33]) == (0, "[harness] 0 resources open at exi")
