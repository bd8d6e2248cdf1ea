"""Nonsense on the command line gets one clear line and exit status 2, never a traceback."""

import os
import re
import resource
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from running import ROOT, Place, free_pair

from harness.pprof.profile import Profile, ValueType
from harness.pprof.proto import encode

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
NONSENSE = [
    ("--rate 0", "0 is not a number from 0.1 to 10000"),
    ("--rate -1", "-1 is not a number"),
    ("--rate nan", "nan is not a number"),
    ("--rate inf", "inf is not a number"),
    ("--rate 1e9", "1e9 is not a number"),
    ("--rate fast", "fast is not a number"),
    ("--rate=", "is not a number"),
    ("--duration 0", "0 is not a number from 0.1 to 86400"),
    ("--duration -1", "-1 is not a number"),
    ("--duration nan", "nan is not a number"),
    ("--duration 1e9", "1e9 is not a number"),
    ("--duration 5 --forever", "not allowed with"),
    ("--report-every 0", "0 is not a number from 0.05 to 3600"),
    ("--report-every nan", "nan is not a number"),
    ("--port -1", "-1 is not a whole number from 0 to 65535"),
    ("--port 65536", "65536 is not a whole number"),
    ("--port 80.5", "80.5 is not a whole number"),
    ("--port http", "http is not a whole number"),
    ("--port 65535", "65535: no port is left for fixed"),
    ("--ulimit 0", "0 is not a whole number from 1 to 2147483647"),
    ("--ulimit -5", "-5 is not a whole number"),
    ("--ulimit 1e3", "1e3 is not a whole number"),
    ("--ulimit 99999999999", "99999999999 is not a whole number"),
    ("--leaky --port 0 --ulimit 3", "3: this run needs 9 descriptors itself; give 9 or more"),
    ("--fixed --port 0 --ulimit 8", "8: this run needs 9 descriptors itself; give 9 or more"),
    (f"--leaky --port 0 --ulimit {HARD + 1}", f"{HARD + 1}: above the hard limit of {HARD}"),
    ("--leaky --port 0 --ulimit 2000000000", "--ulimit 2000000000: above the hard limit of"),
    ("--port 0 --ulimit 3", "3: this run needs 9 descriptors itself"),
    ("--leaky --fixed", "not allowed with"),
    ("--format pdf", "invalid choice: 'pdf'"),
    ("--hold", "--hold: goes with --leaky or --fixed"),
    ("--leak", "unrecognized arguments: --leak"),
    ("leaky", "unrecognized arguments: leaky"),
]


@pytest.mark.parametrize(("arguments", "why"), NONSENSE, ids=[one for one, _ in NONSENSE])
def test_nonsense_is_told_in_one_line(arguments, why, place):
    """The line names the program, the option and its value, and nothing was begun."""
    run = place.run(*arguments.split())
    assert (run.status, run.out) == (2, "")
    assert run.err.count("\n") == 1, run.err
    assert run.err.startswith("labs.file_leak: error: ")
    assert why in run.err
    option = re.search(r"--[a-z-]+(?= \S+$)|--[a-z-]+(?==$)", arguments)
    assert option is None or option[0] in run.err


@pytest.mark.parametrize("variant", [["--leaky"], []], ids=["leaky", "both"])
def test_a_port_in_use_names_its_holder(variant, place):
    """The process's name and pid, and what to do."""
    port = free_pair()  # the other variant's is the next one
    with socket.create_server(("127.0.0.1", port)):
        run = place.run(*variant, "--port", str(port))
    assert run.status == 2
    assert re.fullmatch(
        rf"labs.file_leak: error: --port {port}: in use by \S.* \(pid {os.getpid()}\); "
        r"choose another with --port \(0: any free port\)\n",
        run.err,
    )


def test_the_defaults_in_use_are_told_too(place, default_ports):
    """Without `--port` the line names the option that changes it."""
    with socket.create_server(("127.0.0.1", 6060)):
        run = place.run("--leaky")
    assert run.status == 2
    assert run.err.startswith("labs.file_leak: error: --port 6060: in use by ")


def test_a_temporary_folder_that_is_not_there_is_told(tmp_path):
    """The line names the folder and the variable."""
    place = Place(tmp_path / "tmp")
    run = place.run("--leaky", "--port=0", TMPDIR=str(tmp_path / "missing"))
    assert run.status == 2
    assert run.err == (
        f"labs.file_leak: error: cannot make a directory in {tmp_path / 'missing'}: "
        "No such file or directory; set TMPDIR to a folder that can be written to\n"
    )


def as_somebody_else(place, folder):
    """Return the command that runs the lab without root's right to write everywhere."""
    plain = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return [*plain, *place.command("--leaky", "--port=0")], place.environment(TMPDIR=str(folder))


def test_a_temporary_folder_that_cannot_be_written_is_told(place, tmp_path):
    """A folder without the right to write in it."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    command, environment = as_somebody_else(place, folder)
    done = run_plain(command, environment)
    assert done.returncode == 2
    assert f"cannot make a directory in {folder}: Permission denied; set TMPDIR" in done.stderr


@pytest.mark.parametrize(
    ("mount", "status", "says"),
    [
        ("-o ro", 2, "Read-only file system; set TMPDIR to a folder that can be written to"),
        ("-o size=64k", 1, "[Errno 28] No space left on device"),
        ("-o nr_inodes=50", 1, "[Errno 28] No space left on device"),
    ],
)
def test_a_read_only_or_full_disk_is_told(mount, status, says, place, tmp_path):
    """On a real file system, mounted for this one process: what the kernel says, no traceback."""
    if os.geteuid() != 0 or run_plain(["unshare", "-m", "true"], None).returncode != 0:
        pytest.skip("mounting a small file system needs root and unshare")
    folder = tmp_path / "disk"
    folder.mkdir()
    lab = " ".join(place.command("--leaky", "--port=0", "--rate=500", "--duration=2"))
    script = f"mount -t tmpfs {mount} tmpfs {folder} && {lab}; s=$?; ls -A {folder}; exit $s"
    environment = place.environment(TMPDIR=str(folder))
    done = run_plain(["unshare", "-m", "bash", "-c", script], environment)
    assert done.returncode == status, done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not re.search("^leak-lab", done.stdout, re.MULTILINE)


def run_plain(command, environment):
    """Run a command from the project's root and return what it said."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def test_a_closed_stdout_is_told(place):
    """With nowhere to print to, it does not start."""
    command = " ".join(place.command("--leaky", "--port=0"))
    done = run_plain(["bash", "-c", f"{command} >&-"], place.environment())
    assert done.returncode == 2
    assert "standard output is closed" in done.stderr


@pytest.mark.parametrize("style", ["--json", "--format=github", "--format=html"])
def test_an_output_without_room_is_told(style, place):
    """A comparison whose figures nobody can get ends in one line."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            place.command("--duration=0.3", "--report-every=0.1", "--port=0", style),
            cwd=ROOT,
            env=place.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "labs.file_leak: error: cannot write the output: No space left on device; "
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("labs.file_leak", "--leaky --port=0 --duration=0.3"),
        ("labs", "list"),
        ("harness", "watch PID --duration=0.1"),
        ("harness", "pprof top PROFILE"),
    ],
)
def test_an_output_that_can_only_be_read_is_told(module, arguments, place, tmp_path):
    """In one line, whichever command it is."""
    profile = tmp_path / "nothing.pprof"
    counts = ValueType("goroutine", "count")
    profile.write_bytes(encode(Profile((counts,), (), counts)))
    words = arguments.replace("PID", str(os.getpid())).replace("PROFILE", str(profile)).split()
    with Path(os.devnull).open() as read_only:
        done = subprocess.run(
            place.command(*words, module=module),
            cwd=ROOT, env=place.environment(), stdout=read_only, stderr=subprocess.PIPE,
            encoding="utf-8", timeout=60,
        )  # fmt: skip
    assert done.returncode == 2
    said = "error: cannot write the output: it goes to what can only be read; send it elsewhere\n"
    assert done.stderr.endswith(said)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("limit", "lab", "said"),
    [
        ("ulimit -f 1", "db_pool", "(full|I/O error); set TMPDIR to a folder with room"),
        ("ulimit -f 0", "capstone", "cannot prepare the run: File too large; set TMPDIR"),
        ("ulimit -n 12", "http_leak", r"12 descriptors \(ulimit -n\) are too few .*; allow \d+ or"),
    ],
)
def test_a_run_that_cannot_be_prepared_says_why(limit, lab, said, place):
    """No room for what its operations use, no descriptors for its server: one line, status 2."""
    command = place.command("--leaky", "--duration=0.2", "--port=0", module=f"labs.{lab}")
    done = subprocess.run(
        ["bash", "-c", f'{limit}; exec "$@"', "bash", *command],
        cwd=ROOT,
        env=place.environment() | {"PYTHONDONTWRITEBYTECODE": "1"},  # else it writes half of it
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(said, done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_help_shows_an_example_of_every_option(place):
    """Each option that help lists stands in a command that one can paste."""
    run = place.run("--help")
    assert (run.status, run.err) == (0, "")
    options, examples = run.out.split("examples:")
    listed = set(re.findall(r"^  (--[a-z-]+)", options, re.MULTILINE))
    shown = set(re.findall(r"^  python -m labs.file_leak.*?(--[a-z-]+)", examples, re.MULTILINE))
    shown |= set(re.findall(r"--[a-z-]+", examples))
    assert listed - shown == set()
    assert len(listed) >= 12


def test_the_examples_of_help_are_accepted(place):
    """What help tells people to type is understood by the parser."""
    from harness.cli import parse
    from labs.file_leak import LAB

    run = place.run("--help")
    for example in re.findall(r"^  python -m labs.file_leak ?(.*)", run.out, re.MULTILINE):
        parse(LAB, "labs.file_leak", example.split())
