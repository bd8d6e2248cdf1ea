"""The file lab end to end: the guide's lines and figures come out of real runs."""

import json
import re

import psutil
import pytest
from running import ports_in

STALLS = 2
"""So many times the runs are made again where the machine stalled."""


def ten_seconds(place):
    """Return runs whose reports came in time; the limited one ends when it has run out."""
    for _ in range(STALLS):
        runs = side_by_side(place)
        if all(is_on_time(run.out) for name, run in runs.items() if name != "limited"):
            return runs
    return side_by_side(place)


def is_on_time(text: str) -> bool:
    """Tell whether each report came within 0.3 s of its time, a multiple of 2 s."""
    times_s = map(float, re.findall(r"AFTER ([\d.]+)s", text))
    return all(abs(time_s - 2 * round(time_s / 2)) <= 0.3 for time_s in times_s)


def side_by_side(place):
    """Run the comparison, each variant alone and the one at a low limit, all at the same time."""
    started = {
        "both": place.start(),
        "leaky": place.start("--leaky", "--port", "0"),
        "fixed": place.start("--fixed", "--port", "0"),
        "limited": place.start("--leaky", "--port", "0", "--ulimit", "256"),
    }
    return {name: run.end() for name, run in started.items()}


@pytest.fixture
def guide(once, default_ports):
    """The runs that the guide shows, at the default pace; made once for all tests."""
    return once("guide", ten_seconds)


def on_time(text: str) -> str:
    """Put each report's time on its second, and demand that it was there within 0.3 s."""

    def second(found: re.Match[str]) -> str:
        assert float(found[2]) == pytest.approx(round(float(found[2])), abs=0.3)
        return f"{found[1]} {round(float(found[2]))}s"

    return re.sub(r"(after) ([\d.]+)s", second, text, flags=re.I)


@pytest.mark.parametrize("variant", ["leaky", "fixed"])
def test_one_variant_prints_the_guides_lines(variant, guide, masked, gold):
    """8, 108 … 508 descriptors in one, 8 in the other, at 2, 4, 6, 8 and 10 s."""
    run = guide[variant]
    assert (run.status, run.err) == (0, "")
    gold(f"file_{variant}_10s.txt", masked(on_time(run.out)))


def test_the_comparison_ends_with_the_guides_table(guide):
    """Every row of the guide, with what was measured in this run."""
    run = guide["both"]
    assert (run.status, run.err) == (0, "")
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in run.lines
        if line.startswith("|") and "---" not in line
    ]
    rows = {row[0]: row[1:] for row in table}
    assert rows["Open File Descriptors"] == ["508", "8", "98.4% reduction"]
    assert rows["Files Opened"] == ["500", "500", "Same"]
    assert rows["Files Closed"] == ["0", "500", "✅ All closed"]
    assert rows["Risk Level"] == ["🔴 Critical", "🟢 Normal", "✅ Safe"]
    assert rows["Lsof Rows"] == ["512", "12", "97.7% reduction"]
    assert rows["Runs Out, Limit 1024"] == ["20.3s", "never", "✅ Never"]
    own = rows["Runs Out, Own Limit"]
    assert own[1:] == ["never", "✅ Never"]
    assert re.fullmatch(r"[\d.e+]+s at \d+", own[0])


def test_memory_grows_by_what_open_files_cost(guide):
    """500 file objects with their buffers take megabytes; closed ones do not."""
    row = next(line for line in guide["both"].lines if line.startswith("| Memory Growth"))
    leaky, fixed = (float(cell.removesuffix(" MB")) for cell in re.findall(r"[-\d.]+ MB", row))
    assert 1 < leaky < 9
    assert fixed < leaky / 2


def test_the_comparison_shows_both_runs_line_by_line(guide):
    """Piped, each line says whose it is; the servers are on 6060 and 6061."""
    lines = [on_time(line) for line in guide["both"].lines]
    assert "leaky  pprof server running on http://localhost:6060" in lines
    assert "fixed  pprof server running on http://localhost:6061" in lines
    assert "leaky  [AFTER 6s] Open FDs: 308  |  Files opened: 300" in lines
    assert "fixed  [AFTER 8s] Open FDs: 8  |  Files opened: 400  |  Files closed: 400" in lines


def test_a_limit_of_256_ends_the_leak_after_248_files(guide, masked, gold):
    """The 249th file is due at 4.96 s; the error, the count and the directories are real."""
    run = guide["limited"]
    assert (run.status, run.err) == (1, "")
    ended_s = re.search(r"\[AFTER (4\.\d+)s\] Open FDs: 256", run.out)
    assert ended_s
    assert float(ended_s[1]) == pytest.approx(4.96, abs=0.3)
    text = run.out.replace(f"[AFTER {ended_s[1]}s]", "[AFTER 4.96s]")
    before, end = text.split("\n\n", 1)
    end = re.sub(r"After [\d.]+s, from", "After 5s, from", end)
    gold("file_leaky_ulimit.txt", masked(f"{on_time(before)}\n\n{end}"))


def test_the_fix_runs_on_at_a_limit_of_256(place):
    """More files than the limit allows at once are no matter when each one is closed."""
    run = place.run("--fixed", "--ulimit", "256", "--rate", "500", "--duration", "1", "--port", "0")
    assert run.status == 0
    assert "Files opened: 500  |  Files closed: 500" in run.out


@pytest.mark.parametrize("variant", ["leaky", "fixed"])
@pytest.mark.parametrize("rate", [7, 333, 2000])
def test_at_every_report_exactly_rate_times_elapsed_files(variant, rate, place):
    """No operation is lost or made twice, whatever the rate."""
    run = place.run(
        f"--{variant}",
        f"--rate={rate}",
        "--duration=1",
        "--report-every=0.25",
        "--json",
        "--port=0",
    )
    objects = [json.loads(line) for line in run.lines]
    reports = [each for each in objects if each["event"] in ("report", "result")][1:]
    due = [-(-rate * quarter // 4) for quarter in (1, 2, 3, 4)]
    assert [report["operations"] for report in reports] == [*due, due[-1]]
    opened = [report["values"]["app_files_opened_total"] for report in reports]
    closed = [report["values"]["app_files_closed_total"] for report in reports]
    assert opened == [*due, due[-1]]
    assert closed == (opened if variant == "fixed" else [0] * 5)


def test_a_leak_of_2000_a_second_is_counted_exactly_until_its_limit(place):
    """Its error comes at file 992 of 1,000 descriptors."""
    run = place.run("--leaky", "--rate=2000", "--ulimit=1000", "--json", "--port=0")
    result = json.loads(run.lines[-1])
    assert run.status == 1
    assert result["operations"] == 992
    assert result["exhaustion"]["message"].startswith("[Errno 24] Too many open files")
    assert result["exhaustion"]["sample"]["values"]["process_open_fds"] == 1000


def test_json_gives_one_object_per_report_and_then_the_result(place):
    """Programs read what people see: samples, verdict, views."""
    run = place.run("--leaky", "--json", "--duration=1", "--report-every=0.2", "--port=0")
    objects = [json.loads(line) for line in run.lines]
    assert [each["event"] for each in objects] == [
        *["report"] * 6,
        "evidence",
        "result",
    ]
    assert {each["pid"] for each in objects} == {run.pid}
    result = objects[-1]
    assert result["verdict"]["leaking"] is True
    assert result["verdict"]["growth_per_operation"] == 1
    figures = {name: n for view in result["views"] for name, n in view["figures"].items()}
    assert figures == {"lsof_rows": 62, "lsof_matching": 50, "proc_fds": 58}


def test_json_of_both_ends_with_the_comparison(place):
    """Each line names its variant; the last one holds the table's rows."""
    run = place.run("--json", "--duration=0.6", "--report-every=0.2", "--port=0")
    objects = [json.loads(line) for line in run.lines]
    assert {each.get("variant") for each in objects[:-1]} == {"leaky", "fixed"}
    assert objects[-1]["event"] == "comparison"
    first = objects[-1]["rows"][0]
    assert first == {
        "metric": "Open File Descriptors",
        "leaky": "38",
        "fixed": "8",
        "improvement": "78.9% reduction",
    }


@pytest.mark.parametrize("style", ["grid", "plain", "html", "json"])
def test_the_table_comes_in_every_format(style, place):
    """Where a program reads the table, stdout holds nothing but the table."""
    run = place.run(f"--format={style}", "--duration=0.3", "--report-every=0.1", "--port=0")
    assert run.status == 0
    if style == "json":
        rows = json.loads(run.out)
        assert rows[1] == {
            "metric": "Files Opened",
            "leaky": "15",
            "fixed": "15",
            "improvement": "Same",
        }
    elif style == "html":
        assert run.out.startswith("<table>")
        assert run.out.rstrip().endswith("</table>")
    else:
        assert "Open File Descriptors" in run.out
    lines = run.err if style in ("html", "json") else run.out
    assert "leaky  [START] Open file descriptors: 8" in lines


def test_without_the_server_there_is_none(place):
    """No line, no port, and four descriptors fewer."""
    started = place.start("--leaky", "--no-server", "--duration=1.5", "--report-every=0.1")
    started.see("Files opened: 5$")
    assert psutil.Process(started.pid).net_connections() == []
    run = started.end()
    assert not ports_in(run.out)
    assert "[START] Open file descriptors: 4" in run.out
    assert "curl" not in run.out


def test_forever_goes_on_until_it_is_told(place):
    """It reports as before, and ends at Ctrl-C."""
    started = place.start("--fixed", "--forever", "--report-every=0.1", "--port=0")
    started.see("Files opened: 75 ")
    started.process.send_signal(2)
    assert started.end().status == 130


def test_a_shell_with_few_descriptors_gets_more_and_a_line_that_says_so(place):
    """As on macOS, where a shell starts with 256: the run raises its own limit."""
    run = place.run("--leaky", "--rate=500", "--duration=1", "--port=0", limit=(256, 4096))
    assert run.status == 0
    assert run.lines[0] == "descriptor limit raised from 256 to 535 for this run (ulimit -n)"
    assert "] Open FDs: 508  |  Files opened: 500" in run.out
