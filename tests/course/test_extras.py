"""A lab about a library that is not installed says so in one line, and the others work."""

import os
import subprocess
import sys

import pytest
from running import ROOT

MISSING = "raise ModuleNotFoundError(\"No module named 'sqlalchemy'\", name='sqlalchemy')\n"
INSTALL = "it needs sqlalchemy; install it with `python -m pip install -e '.[db]'`"


@pytest.fixture
def without_it(tmp_path):
    """Run a module of ours where SQLAlchemy cannot be imported."""
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sqlalchemy.py").write_text(MISSING)
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (hiding, ROOT)))}

    def run(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | paths, capture_output=True, encoding="utf-8"
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_its_run_and_its_check_name_what_to_install(without_it, tmp_path):
    """Status 2 and one line, with a copy to judge and without one."""
    assert without_it("labs.db_pool") == (2, "", f"labs.db_pool: error: {INSTALL}\n")
    wanted = 2, "", f"labs: error: db_pool: {INSTALL}\n"
    assert without_it("labs", "check", "db_pool") == wanted
    copy = tmp_path / "workbook" / "db_pool.py"
    copy.parent.mkdir()
    copy.write_text((ROOT / "leaky" / "db_pool.py").read_text())
    assert without_it("labs", "check", "db_pool") == wanted


def test_the_list_gives_the_reason_and_goes_on(without_it):
    """The other labs stand in it with their titles."""
    status, out, _ = without_it("labs", "list")
    assert (status, INSTALL in " ".join(out.split())) == (0, True)
    assert "Executors that are kept" in out
