"""The packaged rules: valid, tried on made-up series, and the same in the documents."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from running import ROOT

from harness.model import Variant
from harness.monitoring.configuration import (
    CONFIG,
    FOLDER,
    RULES,
    packaged,
    scrape_s,
    sped_up,
    write,
)

RULES_TEST = "alerts_test.yml"


@pytest.fixture
def promtool():
    """Run Prometheus's own check in a folder; return its exit status and what it said."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")

    def run(folder: Path, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [program, *arguments], cwd=folder, capture_output=True, encoding="utf-8"
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize("speed", [None, 30, 1000], ids=str)
def test_configuration_and_rules_are_valid(promtool, tmp_path: Path, speed: float | None) -> None:
    """The packaged ones as they are, and what is made of them for other ports in less time."""
    folder = FOLDER
    if speed is not None:
        folder = write(tmp_path, {Variant.LEAKY: 40000, Variant.FIXED: 6060}, speed).parent
    status, said = promtool(folder, "check", "config", CONFIG)
    assert status == 0, said
    assert "7 rules found" in said


def test_the_alerts_tell_a_leak_from_load(promtool) -> None:
    """Growth and nearness fire; a saw-tooth, a burst, a pool that fills and a fixed run do not."""
    status, said = promtool(FOLDER, "test", "rules", RULES_TEST)
    assert status == 0, said


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        ("app_files_open > 500", "app_files_open > 5000"),
        ("deriv(app_files_open[1h]) * 3600 > 1", "deriv(app_files_open[1h]) * 3600 > 50"),
        ("process_open_fds / process_max_fds > 0.8", "process_open_fds > 100"),
        ("min_over_time(app_http_connections_open[10m])", "app_http_connections_open"),
        ("connections_close_wait[5m]) > 5", "connections_close_wait[5m]) > 0"),
    ],
)
def test_the_tests_of_the_rules_can_fail(promtool, tmp_path: Path, rule: str, other: str) -> None:
    """A rule that finds too little or too much is told from the packaged one."""
    rules = packaged(RULES)
    assert rule in rules
    (tmp_path / RULES).write_text(rules.replace(rule, other))
    shutil.copy(FOLDER / RULES_TEST, tmp_path)
    assert promtool(tmp_path, "test", "rules", RULES_TEST)[0] != 0


def test_each_port_is_replaced_by_that_of_its_run(tmp_path: Path) -> None:
    """Also where one run has the other's default port."""
    text = write(tmp_path, {Variant.LEAKY: 6061, Variant.FIXED: 40001}, 1).read_text()
    assert re.findall(r"localhost:(\d+).*\n.*variant: (\w+)", text) == [
        ("6061", "leaky"),
        ("40001", "fixed"),
    ]


def test_every_duration_is_divided(tmp_path: Path) -> None:
    """In scrapes, waits and windows; numbers that are no durations stay."""
    text = "for: 5m\nexpr: predict_linear(x[3h], 12 * 3600) > 500 and x offset 15s"
    assert sped_up(text, 30) == (
        "for: 10000ms\nexpr: predict_linear(x[360000ms], 12 * 3600) > 500 and x offset 500ms"
    )


@pytest.mark.parametrize(("speed", "every_s"), [(1, 15), (10, 1.5), (1000, 0.5)])
def test_no_scrape_is_due_before_a_busy_machine_can_answer(speed: float, every_s: float) -> None:
    """However fast the alerts' times pass."""
    assert scrape_s(speed) == every_s


def test_the_rules_in_the_documents_are_the_packaged_ones() -> None:
    """Group by group; every group is shown in one of them."""
    shown = set()
    for name in ("GUIDE.md", "resources/06-monitoring-strategies.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for block in re.findall(r"^```yaml\ngroups:\n(.*?)^```$", text, re.M | re.S):
            shown |= set(groups(block))
    assert shown == set(groups(packaged(RULES)))


def groups(text: str) -> list[str]:
    """Return the groups of rules in a text."""
    return re.findall(r"^  - name: .*\n(?:    .*\n)+", text, re.M)


def test_the_files_are_installed_with_the_package() -> None:
    """Each of them is named in the project's package data."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"]["package-data"]["harness.monitoring"]
    assert sorted(listed) == sorted(path.name for path in FOLDER.glob("*.yml"))
