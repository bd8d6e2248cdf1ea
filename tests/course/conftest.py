"""What the course's tests share: a folder to learn in, and its commands without a new process."""

import pytest

from harness import command
from labs.course.commands import main

WIDTH = 80


@pytest.fixture
def course(tmp_path, monkeypatch, capsys):
    """Do a command of the course in an empty folder; return status, stdout and stderr.

    No line of it is wider than a terminal, but for a path or a patch.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.stops.stop_on_signals", lambda: None)

    def do(line: str) -> tuple[int, str, str]:
        try:
            status = command.run("labs", lambda: main(line.split()))
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        assert all(len(each) <= WIDTH for each in out.splitlines() if not line.startswith("diff"))
        return status, out, err

    return do
