"""On a (pseudo-)terminal a person sees progress, colours and marks, as far as it can show them."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest
from running import ROOT

QUICK = "--report-every=0.1", "--rate=100", "--duration=1", "--no-server"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """A lab on a pseudo-terminal of its own, and all that it wrote there."""

    def __init__(self, place, *arguments, module="labs.file_leak", folder=ROOT, **more):
        ours, theirs = pty.openpty()
        self._descriptor = ours
        self.text = ""
        self.process = subprocess.Popen(
            place.command(*arguments, module=module),
            cwd=folder,
            env=place.environment(**({"TERM": "xterm-256color", "COLUMNS": "100"} | more)),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 - as `login_tty` does
        )
        os.close(theirs)

    def read(self, until=None, within_s=30):
        """Read what is written, to the end or until a pattern."""
        deadline_s = time.monotonic() + within_s
        while until is None or not re.search(until, self.text):
            assert time.monotonic() < deadline_s, self.text
            if select.select([self._descriptor], [], [], 0.1)[0]:
                try:
                    read = os.read(self._descriptor, 65536)
                except OSError:  # Linux: nobody has the other end any more
                    break
                self.text += read.decode("utf-8", "replace")
                if not read:
                    break
        return self.text

    def type(self, keys):
        """Type keys on it."""
        os.write(self._descriptor, keys)

    def end(self):
        """Read to the end; return the exit status."""
        self.read()
        os.close(self._descriptor)
        return self.process.wait(10)


def take_terminal():
    """Make stdin the controlling terminal, so that Ctrl-C typed there is a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def plain(text):
    """Return text without escape sequences."""
    return ESCAPE.sub("", text).replace("\r\n", "\n")


def test_the_comparison_shows_its_progress(place):
    """A bar for each run with its time and latest figure, gone when it is over."""
    screen = Screen(place, *QUICK[:-1], "--port=0")
    screen.read(r"leaky .*━.* s Open FDs: \d+")
    assert screen.end() == 0
    text = plain(screen.text)
    assert re.search(r"fixed +━+ +\d s Open FDs: 8", text)
    assert "leaky  [START] Open file descriptors: 8\n" in text
    assert "| Open File Descriptors" in text
    last = text[text.index("| Metric") :]
    assert "━" not in last
    assert place.leftovers() == []


def test_one_run_needs_no_progress(place):
    """Its lines come as they do in a pipe, the verdict in colour."""
    screen = Screen(place, "--leaky", *QUICK)
    assert screen.end() == 0
    assert "\x1b[33m⚠️  WARNING: File descriptor leak detected!\x1b[0m" in screen.text
    assert "━" not in screen.text


@pytest.mark.parametrize("columns", [44, 200])
def test_what_is_too_long_for_a_terminal_is_folded_between_words(columns, place):
    """A path stays whole, to be copied, and what goes on is indented; a wide one needs no fold."""
    screen = Screen(place, "--leaky", *QUICK, COLUMNS=str(columns))
    assert screen.end() == 0
    lines = plain(screen.text).splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("    opened at "))
    assert lines[at].startswith("    opened at leaky/file_leak.py:24")
    assert lines[at].endswith(" files") == (columns == 200)
    assert lines[at + 1].startswith("      " if columns == 44 else "    held by ")
    assert all(len(line) <= columns for line in lines[: lines.index("Try in another terminal:")])


@pytest.mark.parametrize("arguments", [[], ["--leaky"]], ids=["both", "leaky"])
@pytest.mark.parametrize("setting", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_who_wants_no_colour_gets_none(setting, arguments, place):
    """NO_COLOR and a dumb terminal: no SGR sequence (ECMA-48) for a colour."""
    screen = Screen(place, *arguments, *QUICK, **setting)
    assert screen.end() == 0
    assert not re.search(r"\x1b\[(3\d|38;\d+;\d+|9\d)m", screen.text)
    assert "WARNING: File descriptor leak detected!" in plain(screen.text)


@pytest.mark.parametrize("arguments", [[], ["--leaky"], ["--fixed"]], ids=str)
def test_an_ascii_terminal_gets_ascii(arguments, place):
    """Words for marks, no question marks, no error."""
    screen = Screen(place, *arguments, *QUICK, PYTHONIOENCODING="ascii")
    assert screen.end() == 0
    assert screen.text.isascii()
    text = plain(screen.text)
    marks = {"--leaky": ["[!] WARNING"], "--fixed": ["[ok] No leak!"]}
    for mark in marks.get("".join(arguments), ["[!] WARNING", "[ok] No leak!", "| Critical"]):
        assert mark in text
    assert "\\u" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_ascii_pipe_gets_ascii(encoding, place):
    """As a terminal does; the table's columns stay straight."""
    run = place.run(*QUICK, PYTHONIOENCODING=encoding)
    assert (run.status, run.err) == (0, "")
    assert run.out.isascii()
    table = [line for line in run.lines if line.startswith("|")]
    assert len({len(line) for line in table}) == 1


def test_no_colour_in_a_pipe(place):
    """Whatever the terminal is that it was started from."""
    run = place.run("--leaky", *QUICK, TERM="xterm-256color")
    assert "\x1b" not in run.out


@pytest.mark.parametrize("arguments", [[], ["--leaky"]], ids=["both", "leaky"])
def test_ctrl_c_typed_on_the_terminal(arguments, place):
    """Typed once and again: the summary, status 130, the cursor back, nothing left."""
    screen = Screen(place, *arguments, "--report-every=0.1", "--rate=100", "--port=0")
    screen.read(r"Files opened: 30")
    screen.type(b"\x03\x03")
    assert screen.end() == 130
    text = plain(screen.text)
    assert "| Open File Descriptors" in text if not arguments else "measured so far" in text
    assert "Traceback" not in text
    assert screen.text.count("\x1b[?25l") <= screen.text.count("\x1b[?25h")
    assert place.leftovers() == []


def test_a_closed_terminal_ends_the_comparison(place):
    """The window is closed: SIGHUP, and nothing is left."""
    screen = Screen(place, *QUICK[:2], "--port=0")
    screen.read(r"Files opened: 30")
    os.close(screen._descriptor)
    assert screen.process.wait(20) in (128 + signal.SIGHUP, 141)
    assert place.leftovers() == []


def test_a_check_shows_that_it_goes_on(place, tmp_path):
    """A bar with the time, gone when the verdict comes."""
    (tmp_path / "workbook").mkdir()
    shutil.copy(ROOT / "leaky" / "file_leak.py", tmp_path / "workbook")
    screen = Screen(place, "check", "file_leak", module="labs", folder=tmp_path)
    assert screen.end() == 1
    assert re.search(r"Judging workbook/file_leak.py ━+ 0:00:\d\d", plain(screen.text))
    erased = screen.text.rindex("\x1b[2K")
    assert screen.text.rindex("━") < erased < screen.text.index("✗ file_leak")
    assert screen.text.count("\x1b[?25l") == screen.text.count("\x1b[?25h")
