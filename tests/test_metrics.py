"""`/metrics`: what Prometheus is told is what the console says, also with no descriptor left."""

import json
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import canned
import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from running import Place, Started

from harness.gauges import FILES, OPEN_FDS, RSS_BYTES
from harness.metrics import registry_of
from harness.model import Ended
from harness.page.live import Live
from harness.probes import fds

NOWHERE = "/nonexistent"
QUICK = ("--json", "--rate=100", "--report-every=0.3", "--forever", "--port=0")
STAT = f"7 (python) S {'0 ' * 10}300 100 {'0 ' * 6}1 20000 5000"


@pytest.fixture
def live() -> Live:
    """The leaky run of the made-up lab, before it begins."""
    return Live(canned.LAB)


def text_of(live: Live, proc: str = NOWHERE) -> str:
    """Return what Prometheus would be told."""
    return generate_latest(registry_of(live, proc)).decode()


def tell(live: Live) -> None:
    """Let the made-up run go to its end."""
    for event in canned.events(canned.run("leaky")):
        live(event)


def test_every_figure_has_its_help_and_type(live: Live, gold) -> None:
    """The whole text: counters are counters, units are in the names."""
    tell(live)
    gold("metrics_leaky.txt", text_of(live))


def test_what_was_not_measured_is_left_out(live: Live) -> None:
    """It is not told as 0, and a run without a limit has none."""
    run = canned.run("leaky", reports=1, limit=None)
    values = dict.fromkeys(run.samples[-1].values) | {canned.OPENED: 100}
    unknown = canned.Sample(2.0, 100, values)
    live(canned.events(run)[0])
    live(Ended(canned.Run("doors", run.variant, 1, 50, None, samples=(unknown,))))
    assert figures(text_of(live)) == {"app_doors_opened_total": 100}


def test_before_the_run_begins_there_is_only_the_process(live: Live, tmp_path: Path) -> None:
    """As the process collector reads it, here from a made-up /proc."""
    made_up_proc(tmp_path)
    told = figures(text_of(live, str(tmp_path)))
    assert told["process_cpu_seconds_total"] > 0
    assert told["process_open_fds"] == 3
    assert "app_doors_opened_total" not in told


def test_the_runs_own_count_stands_before_the_process_collectors(
    live: Live, tmp_path: Path
) -> None:
    """That one counts the descriptor that it lists them with; nothing is told twice."""
    made_up_proc(tmp_path)
    tell(live)
    text = text_of(live, str(tmp_path))
    assert figures(text)["process_open_fds"] == 508
    assert figures(text)["process_max_fds"] == 20000
    assert text.count("# TYPE process_open_fds ") == 1
    assert "process_start_time_seconds" in text


def made_up_proc(folder: Path) -> None:
    """Write what the process collector reads of a process with three descriptors."""
    own = folder / "self"
    (own / "fd").mkdir(parents=True)
    for number in range(3):
        (own / "fd" / str(number)).touch()
    (folder / "stat").write_text("btime 1700000000\n")
    (own / "stat").write_text(STAT)
    (own / "limits").write_text("Max open files 64 64 files\n")


def test_no_reader_is_in_the_figures(live: Live) -> None:
    """While files are open to read the process's own figures, the run does not count."""

    class Watched:
        def __init__(self) -> None:
            self.was_held: list[bool] = []

        def collect(self) -> list[Any]:
            self.was_held.append(fds._looking.locked())
            return []

    registry = registry_of(live)
    collector = next(iter(registry._collector_to_names))
    watched = collector._process = Watched()
    generate_latest(registry)
    assert watched.was_held == [True]
    assert not fds._looking.locked()


def test_the_global_registry_is_left_alone(live: Live) -> None:
    """A program that has metrics of its own keeps them to itself."""
    before = generate_latest(REGISTRY).count(b"# TYPE")
    tell(live)
    text_of(live)
    assert generate_latest(REGISTRY).count(b"# TYPE") == before


def figures(text: str) -> Mapping[str, float]:
    """Return the figures in a text by their names."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(port: int) -> str:
    """Return what a run tells now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text: str = answer.read().decode()
        return text


def reports(out: str) -> list[dict[str, float]]:
    """Return the values of each report of a run, its end among them."""
    lines = [json.loads(line) for line in out.splitlines()]
    return [line["values"] for line in lines if line["event"] in ("report", "result")]


def begun(place: Place, module: str, *more: str) -> tuple[Started, int]:
    """Start the leaky run of a lab; return it and its server's port after some reports."""
    run = place.start("--leaky", *QUICK, *more, module=module)
    port = int(run.see(r'"server_port": (\d+)')[1])
    run.see(r'(?s)("event": "report".*?){4}')
    return run, port


def ended(run: Started) -> list[dict[str, float]]:
    """End a run; return what it reported."""
    run.process.send_signal(signal.SIGTERM)
    return reports(run.end().out)


def test_the_figures_are_those_of_the_report_of_the_same_moment(place: Place) -> None:
    """All of them, three times, while files leak; each open file is one of the run's."""
    run, port = begun(place, "labs.file_leak")
    told = []
    for _ in range(3):
        told.append(figures(scrape(port)))
        made = run.count('"event": "report"')  # a slow answer may be late by several of them
        run.see(rf'(?s)("event": "report".*?){{{made + 2}}}')
    wrote = {values["app_files_opened_total"]: values for values in ended(run)}
    for each in told:
        reported = wrote[each["app_files_opened_total"]]
        assert {name: each[name] for name in reported} == reported
        still_open = each["app_files_opened_total"] - each["app_files_closed_total"]
        assert each[FILES.name] == still_open > 0
        assert each["process_max_fds"] >= each[OPEN_FDS.name] > still_open
        assert each[RSS_BYTES.name] > 1e6
        assert each["process_cpu_seconds_total"] > 0
    assert len({each["app_files_opened_total"] for each in told}) == 3


def test_promtool_finds_no_fault_in_the_names(place: Place) -> None:
    """Units, suffixes and help as Prometheus's own check wants them; a lab's own gauges too."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    run, port = begun(place, "labs.http_leak", "--upstream-port=0")
    text = scrape(port)
    ended(run)
    told = figures(text)
    assert {"app_http_connections_open", "app_http_connections_close_wait"} <= set(told)
    assert {"app_requests_total", "app_tasks", "app_threads", "app_files_open"} <= set(told)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, encoding="utf-8"
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_run_without_a_descriptor_left_is_still_scraped(place: Place) -> None:
    """Ten times in a row, with the figures of the moment at which it was refused one."""
    run = place.start("--leaky", "--ulimit=64", "--rate=500", "--port=0", "--hold")
    port = int(run.see(r"localhost:(\d+)")[1])
    run.see("anon_inode")
    told = [figures(scrape(port)) for _ in range(10)]
    assert {each["process_open_fds"] for each in told} == {64}
    assert {each["process_max_fds"] for each in told} == {64}
    assert all(each["app_files_open"] == each["app_files_opened_total"] > 0 for each in told)
    run.process.send_signal(signal.SIGINT)
    assert run.end().status == 130
