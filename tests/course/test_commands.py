"""The course's commands, as a learner gives them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT

from harness.terminal import Terminal
from labs.course import catalogue, progress, watch

FIXED = (ROOT / "fixed" / "file_leak.py").read_text(encoding="utf-8")
COPY = Path("workbook", "file_leak.py")
FILE = Path("workbook", "progress.json")


def test_a_walk_through_a_lab(course):
    """From the first word to the fix, following what the screen says; nothing else is needed."""
    first = re.search(r"python -m labs (start \w+)", course("")[1])
    assert course(first[1]) == (0, course_text("start.txt"), "")
    assert COPY.read_text() == (ROOT / "leaky" / "file_leak.py").read_text()

    status, out, _ = course("check")
    assert (status, out) == (1, course_text("not_yet.txt"))

    hints = [course("hint")[1] for _ in range(3)]
    assert [len(re.findall(r"^Hint \d of 3, ", text, re.M)) for text in hints] == [1, 2, 3]
    status, _, err = course("diff file_leak")
    assert status == 2 and "has not passed its check" in err

    COPY.write_text(FIXED)
    assert course("check") == (0, course_text("passed.txt"), "")
    status, out, _ = course("diff file_leak")
    assert status == 0 and "+        with open(path" in out

    assert re.search(r"^ 1  ✓ passed, 3 hints +file_leak ", course("list")[1], re.M)
    assert re.search(r"1 of \d+ labs passed[^$]*python -m labs start http_leak", course("")[1])


def test_the_last_hint_of_the_longest_name_fits_a_terminal(course):
    """What comes after the third hint has the lab's name in it, and still 80 columns."""
    name = max(catalogue.names(), key=len)
    for _ in range(3):
        status, out, _ = course(f"hint {name}")
    assert status == 0
    assert out.endswith(f"python -m labs diff {name} --give-up\n")


def test_a_command_in_a_hint_is_not_broken(course):
    """It can be copied from the line on which it begins."""
    assert "`python -m labs.file_leak --mine`" in course("hint file_leak")[1].splitlines()[-1]


def test_the_course_has_an_end(course):
    """The last verdict names what comes now, and a lab that has passed is asked for by name."""
    names = catalogue.names()
    course("start file_leak")
    progress.save(progress.Progress(passed=tuple(name for name in names if name != "file_leak")))
    COPY.write_text(FIXED)
    status, out, _ = course("check")
    assert status == 0 and out.endswith("That was the last lab. What comes now: python -m labs\n")
    assert "All done." in course("")[1]
    assert course("check")[2].endswith("; a lab that has passed needs its name\n")


def course_text(name: str) -> str:
    """Return what a command is to print."""
    return Path(ROOT, "tests", "gold", f"course_{name}").read_text(encoding="utf-8")


def test_start_never_overwrites_and_reset_keeps_the_old_copy(course):
    """What a learner wrote is not lost by either."""
    course("start file_leak")
    COPY.write_text("my work")
    status, _, err = course("start file_leak")
    assert status == 2 and "python -m labs reset file_leak" in err
    assert COPY.read_text() == "my work"

    course("hint")
    assert course("reset file_leak")[1].startswith("Your copy is now workbook/file_leak.old.py.")
    assert Path("workbook", "file_leak.old.py").read_text() == "my work"
    assert "class LogAggregator" in COPY.read_text()
    assert json.loads(FILE.read_text()) == {"hints": {}, "passed": []}


def test_a_second_reset_does_not_replace_what_the_first_kept(course):
    """Whoever resets twice still has the work of before."""
    course("start file_leak")
    for work in ("first", "second"):
        COPY.write_text(work)
        course("reset file_leak")
    kept = [Path("workbook", f"file_leak.old{number}.py").read_text() for number in ("", 1)]
    assert kept == ["first", "second"]


DAMAGES = (
    '{"hints": {"file_',
    "[]",
    '{"hints": 3, "passed": []}',
    '{"hints": {"file_leak": 1e999}, "passed": []}',
    "[" * 100_000,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_progress_file_is_put_aside(damage, course):
    """A sentence says so, the damaged one is kept, the copy untouched, and a new one begins."""
    course("start file_leak")
    FILE.write_text(damage)
    status, out, _ = course("")
    assert status == 0
    assert "was damaged" in out and "it is workbook/progress.damaged.json now" in " ".join(
        out.split()
    )
    assert Path("workbook", "progress.damaged.json").read_text() == damage
    course("hint")
    assert json.loads(FILE.read_text())["hints"] == {"file_leak": 1}


def test_a_second_damaged_file_does_not_replace_the_first(course):
    """Both may hold something worth a look."""
    course("start file_leak")
    for damage in ("first", "second"):
        FILE.write_text(damage)
        course("list")
    kept = [Path("workbook", f"progress.damaged{number}.json").read_text() for number in ("", 1)]
    assert kept == ["first", "second"]


def test_progress_is_written_whole_or_not_at_all(course, monkeypatch):
    """A crash in the middle of writing leaves the file as it was."""
    course("start file_leak")
    course("hint")
    before = FILE.read_text()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        progress.save(progress.Progress())
    assert FILE.read_text() == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("check file_laek", "there is no lab of that name; did you mean file_leak?"),
        ("start zzz", "python -m labs list shows them"),
        ("check", "no lab is under way; python -m labs start NAME begins one"),
        ("check file_leak", "workbook/file_leak.py: no such file; make it with: python -m labs"),
        ("nonsense", "invalid choice: 'nonsense'"),
        ("watch", "no lab is under way"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(line, says, course):
    """With status 2, nothing on stdout, and what to do instead."""
    status, out, err = course(line)
    assert (status, out) == (2, "")
    assert says in err and err.count("\n") == 1


def test_a_folder_that_cannot_be_written_to(course, monkeypatch):
    """The learner is told which file, and what to do."""
    Path("workbook").write_text("a file where the folder should be")
    status, _, err = course("start file_leak")
    assert status == 2 and err.startswith("labs: error: workbook/file_leak.py: ")


def test_a_lab_whose_library_is_missing_is_listed_with_the_reason(course, monkeypatch):
    """The others are listed as ever."""
    load = catalogue.load

    def without_library(name):
        if name == "http_leak":
            raise catalogue.UsageError("http_leak: install an extra for it")
        return load(name)

    monkeypatch.setattr(catalogue, "load", without_library)
    out = course("list")[1]
    assert re.search(r"http_leak +install an extra for it", out)
    assert re.search(r"file_leak +File descriptor leak", out)


def test_watch_checks_when_the_copy_is_saved_and_ends_when_it_passes(course, capsys):
    """Half a save is told, a file that is away for a moment too; no change, no check."""
    course("start file_leak")
    saves = iter(["def broken(", None, "", FIXED])

    def save_something(_pause_s: float) -> None:
        text = next(saves)
        if text is None:
            COPY.unlink()
        elif text:
            COPY.write_text(text)

    assert watch.watch_copy("file_leak", Terminal(sys.stdout), save_something) == 0
    out = capsys.readouterr().out
    assert out.count("Ctrl-C to stop.\n\n") == 3
    verdicts = re.findall(r"✗ file_leak: not yet|'\(' was never|no such file|✓ file_leak", out)
    assert verdicts == [
        "✗ file_leak: not yet",
        "✗ file_leak: not yet",
        "'(' was never",
        "no such file",
        "✓ file_leak",
    ]


def test_mine_runs_the_learners_copy(course):
    """With the lab's console lines; a copy that cannot be run is refused with one line."""
    course("start file_leak")
    command = [sys.executable, "-m", "labs.file_leak", "--mine", "--port", "0"]
    command += ["--duration", "0.6", "--report-every", "0.15"]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)

    shown = run()
    assert shown.returncode == 0, shown.stderr
    assert "WARNING: File descriptor leak detected!" in shown.stdout
    assert "opened at workbook/file_leak.py:24 in LogAggregator.store" in shown.stdout

    COPY.write_text(FIXED.replace("def recent", "def latest"))
    refused = run()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "labs.file_leak: error: workbook/file_leak.py: LogAggregator.recent is missing, and its "
        "callers need it; bring it back\n"
    )
