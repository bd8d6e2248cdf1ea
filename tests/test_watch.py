"""Watching another process: real children, and the judgement on canned figures."""

import csv
import io
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.clock import ManualClock
from harness.errors import UsageError
from harness.gauges import OPEN_FDS, THREADS
from harness.patience import Patience
from harness.probes import process
from harness.probes.process import Figures, Listing
from harness.watch import found, parser, pid_of, short
from harness.watch import watch as watch_by
from harness.watching import Watcher, judge_all, judge_short
from harness.watchview import Csv, inspection, line, summary

ROOT = Path(__file__).resolve().parents[1]
LEAKER = """
import sys, time
per_s = float(sys.argv[1])
held, start = [], time.monotonic()
print("ready", flush=True)
while (passed := time.monotonic() - start) < 60:
    while len(held) < passed * per_s:
        held.append(open(sys.executable))
    time.sleep(0.005)
"""
ASKED = """
import sys
held = []
print("ready", flush=True)
for line in sys.stdin:
    held += [open(sys.executable) for _ in range(int(line))]
    print(len(held), flush=True)
"""
"""Opens so many files more at each line that it is given."""
WATCH = "import sys; from harness.watch import main; sys.exit(main())"


@pytest.fixture
def child(tmp_path):
    """Start programs that leak so many files a second; end them after the test."""
    started = []

    def start(per_s=0, name="leaker.py", text=LEAKER):
        script = tmp_path / name
        script.write_text(text)
        command = [sys.executable, str(script), str(per_s)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        each.stdin.close()
        each.stdout.close()


def watch(*arguments, code=WATCH):
    """Run the command in a process of its own, its output a pipe."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


class Paced(ManualClock):
    """A clock that `leaker`, a real process, goes by: it opens so many files each second of it."""

    def __init__(self, leaker, per_s=0):
        super().__init__()
        self.leaker, self.per_s, self.held = leaker, per_s, 0

    def wait_until(self, due_s):
        """Turn the clock, and have the files opened that are due by then."""
        super().wait_until(due_s)
        due = int(self.now_s() * self.per_s + 1e-6)
        if due > self.held:
            self.leaker.stdin.write(f"{due - self.held}\n")
            self.leaker.stdin.flush()
            self.held = int(self.leaker.stdout.readline())


def watch_paced(leaker, *arguments, per_s=0):
    """Watch a real process on a clock that never comes late; return the exit status."""
    options = parser().parse_args([str(leaker.pid), *map(str, arguments)])
    return watch_by(options, found(options.pid, None), Paced(leaker, per_s))


class Canned:
    """A process whose counts are given, one per look; a listing takes `listing_s`."""

    def __init__(self, clock, counts, limit=100, listing_s=0.0):
        self.clock, self.counts, self.limit, self.listing_s = clock, counts, limit, listing_s
        self.looks = self.listings = 0

    def open_fds(self):
        """Return the count at this moment of the clock, in tenths of a second."""
        self.looks += 1
        at = round(self.clock.now_s() * 10)
        return self.counts(at)

    def is_alive(self):
        """Tell whether there still is a count."""
        return self.open_fds() is not None

    def figures(self):
        """Return the figures of this moment."""
        count = self.open_fds()
        return None if count is None else Figures(count, self.limit, 3, 5_000_000)

    def listing(self):
        """Take the time that a listing takes."""
        self.listings += 1
        self.clock.wait_until(self.clock.now_s() + self.listing_s)
        return Listing({"file": 7}, {})


def canned(counts, duration_s, every_s=1.0, **facts):
    """Return the watcher of a canned process, at the end, and the process."""
    clock = ManualClock()
    watched = Canned(clock, counts, **facts)
    watcher = Watcher(watched, clock, every_s)
    list(watcher.watch(duration_s))
    return watcher, watched


def test_growth_and_time_to_the_limit_are_those_of_the_counts():
    """5 a second from 10, with a limit of 100: after 2 s 20 are open and 16 s are left."""
    watcher, _ = canned(lambda tenths: 10 + tenths // 2, duration_s=2)
    last = watcher.reports[-1]
    assert (last.elapsed_s, last.values[OPEN_FDS]) == (2, 20)
    assert (last.growth_per_s[OPEN_FDS], last.limit_in_s) == (5, 16)
    assert line(last) == (
        "[AFTER 2s] Open FDs: 20  |  Limit: 100  |  Growth: +5/s  |  Limit in: 16s  |  "
        "Threads: 3  |  Memory: 5.0 MB  |  Kinds: file 7"
    )


@pytest.mark.parametrize(("limit", "said"), [(float("inf"), "never"), (None, "n/a")])
def test_without_a_limit_no_time_is_made_up(limit, said):
    """No limit is never reached; one that the system does not tell is n/a."""
    watcher, _ = canned(lambda tenths: tenths, duration_s=1, limit=limit)
    assert f"Limit in: {said}  |" in line(watcher.reports[-1])


def test_a_count_that_stands_still_has_no_time_to_the_limit():
    """Nothing grows: no number of seconds is shown."""
    watcher, _ = canned(lambda _tenths: 10, duration_s=1)
    assert "Growth: +0/s  |  Limit in: not growing" in line(watcher.reports[-1])


def test_listings_take_a_twentieth_of_the_time_and_say_how_old_they_are():
    """A listing of 0.5 s is made every 10 s, however short the interval."""
    watcher, watched = canned(lambda _tenths: 10, duration_s=19.5, listing_s=0.5)
    assert watched.listings == 2
    assert [report.listing_age_s for report in watcher.reports][:3] == [0, 1, 2]
    assert "Kinds (9s ago): file 7" in line(watcher.reports[9])


def test_slow_counts_are_spaced_like_listings():
    """Where counting costs 0.1 s (an old kernel, many descriptors) it is done every 2 s."""

    class Slow(Canned):
        def open_fds(self):
            self.clock.wait_until(self.clock.now_s() + 0.1)
            return super().open_fds()

    clock = ManualClock()
    watched = Slow(clock, lambda _tenths: 10)
    list(Watcher(watched, clock, 10.0).watch(40))
    reports = 5
    assert watched.looks <= 40 / 2 + reports


def test_the_end_of_the_process_ends_the_reports_within_a_part_of_the_interval():
    """It is gone after 2.5 s of 10 s intervals: that is seen at the next count."""
    clock = ManualClock()
    watched = Canned(clock, lambda tenths: 10 if tenths < 25 else None)
    watcher = Watcher(watched, clock, 10.0)
    assert len(list(watcher.watch())) == 1
    assert watcher.has_ended
    assert clock.now_s() == 3


def test_missed_reports_are_left_out_and_the_grid_stays():
    """A report that was slow to show does not shift those that follow."""
    clock = ManualClock()
    watcher = Watcher(Canned(clock, lambda _tenths: 10), clock, 1.0)
    at = []
    for report in watcher.watch(5):
        at.append(report.elapsed_s)
        if len(at) == 2:
            clock.wait_until(3.4)
    assert at == [0, 1, 4, 5]


def test_growth_in_every_one_of_the_last_reports_is_a_leak():
    """The evidence says how much, how fast and for how long, of the lowest counts."""
    watcher, _ = canned(lambda tenths: 10 + tenths, duration_s=5)
    verdict = judge_all(watcher.reports, 5)
    assert verdict.gauge is OPEN_FDS
    assert verdict.evidence == (
        "Open file descriptors: +40 over 4s (11 to 51, +10/s), "
        "growth in every one of the last 5 reports"
    )
    assert judge_all(watcher.reports, 6) is None


def test_growth_slower_than_the_reports_shows_in_longer_periods():
    """One descriptor every three seconds does not grow in every second's report."""
    watcher, _ = canned(lambda tenths: 10 + tenths // 30, duration_s=40)
    verdict = judge_all(watcher.reports, 5)
    assert "growth in every one of the last 5 periods of 4 reports" in verdict.evidence


def test_what_a_later_collection_takes_back_is_no_leak():
    """A saw-tooth falls back within each interval; its lowest counts stand still."""
    watcher, _ = canned(lambda tenths: 10 + tenths // 10 % 3 + tenths % 7, duration_s=60)
    assert judge_all(watcher.reports, 5) is None


def test_a_rise_to_where_it_has_been_before_is_no_leak():
    """A pool that emptied and fills again stays below its earlier peak."""
    watcher, _ = canned(lambda tenths: 60 if tenths < 50 else 10 + (tenths - 50), duration_s=9)
    assert judge_all(watcher.reports, 4) is None


def test_a_leak_of_threads_alone_is_one():
    """Descriptors stand still, threads grow."""

    class Threading(Canned):
        def figures(self):
            return Figures(10, 100, round(self.clock.now_s()), 5_000_000)

    clock = ManualClock()
    watcher = Watcher(Threading(clock, lambda _tenths: 10), clock, 1.0)
    list(watcher.watch(6))
    assert judge_all(watcher.reports, 5).gauge is THREADS


def test_a_short_watch_is_judged_by_all_its_reports():
    """Four reports instead of eight, all grown, is a leak; two reports say nothing."""
    watcher, _ = canned(lambda tenths: 10 + tenths, duration_s=4)
    assert "every one of the last 4 reports" in judge_short(watcher.reports, 8).evidence
    watcher, _ = canned(lambda tenths: 10 + tenths, duration_s=2)
    assert judge_short(watcher.reports, 8) is None


def test_a_process_that_was_never_measured_is_summed_up_in_a_line():
    """Ctrl-C before the first report."""
    assert summary("Interrupted", 0.1, []) == ["Interrupted before it could be measured"]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/var/log/app.log", "file"),
        ("/tmp/gone (deleted)", "file"),
        ("/dev/shm/queue", "file"),
        ("/dev/null", "device"),
        ("/memfd:cache (deleted)", "memfd"),
        ("socket:[1234]", "socket"),
        ("pipe:[99]", "pipe"),
        ("anon_inode:[eventpoll]", "epoll"),
        ("anon_inode:inotify", "inotify"),
        ("net:[4026531840]", "net"),
    ],
)
def test_kinds_are_told_from_the_targets(target, kind):
    """The forms that proc_pid_fd(5) names."""
    assert process.kind(target) == kind


def connection(family, status):
    """Return what psutil says of a connection."""
    return SimpleNamespace(family=family, status=status)


def test_without_proc_psutil_tells_files_and_sockets():
    """As on macOS: what is neither is counted as other, nothing is lost."""
    mac = SimpleNamespace(
        open_files=lambda: ["a", "b"],
        net_connections=lambda _kind: [
            connection(socket.AF_INET, "CLOSE_WAIT"),
            connection(socket.AF_INET6, "NONE"),
            connection(socket.AF_UNIX, "NONE"),
        ],
        num_fds=lambda: 9,
    )
    listing = process.listing_without_proc(mac)
    assert listing.kinds == {"file": 2, "socket": 3, "other": 4}
    assert listing.states == {"CLOSE_WAIT": 1, "UDP": 1, "UNIX": 1}


def test_the_command_to_look_closer_fits_the_system():
    """There is no /proc on macOS."""
    watcher, _ = canned(lambda tenths: 10 + tenths, duration_s=5)
    verdict = judge_all(watcher.reports, 5)
    assert inspection(verdict, 7, "linux") == "ls -l /proc/7/fd | tail"
    assert inspection(verdict, 7, "darwin") == "lsof -p 7 | tail"


def test_unknown_figures_are_empty_cells():
    """Of a process whose limit and threads cannot be read."""

    class Hidden(Canned):
        def figures(self):
            return Figures(10, None, None, None)

        def listing(self):
            return None

    clock, stream = ManualClock(), io.StringIO()
    view = Csv(stream, None)
    for report in Watcher(Hidden(clock, lambda _tenths: 10), clock, 1.0).watch(1):
        view.report(report)
    [_, row] = csv.DictReader(stream.getvalue().splitlines())
    known = {name for name, cell in row.items() if cell}
    assert known == {"elapsed_s", "open_fds", "lowest_fds", "highest_fds", "growth_per_s"}


def test_a_leak_is_found_in_a_real_process(child):
    """50 files a second: status 1, a line per report, the evidence."""
    leaker = child(per_s=50)
    result = watch(leaker.pid, "--every", 0.1, "--until-leak")
    assert result.returncode == 1, result.stderr
    assert re.search(r"^\[START\] Open FDs: \d+  \|  Limit: \d+", result.stdout, re.M)
    assert re.search(r"^\[AFTER \d[\d.]*s\] Open FDs: \d+  \|  Limit", result.stdout, re.M)
    assert "WARNING: File descriptor leak detected!" in result.stdout
    evidence = re.search(
        r"Open file descriptors: \+(\d+) over ([\d.]+)s \((\d+) to (\d+), \+([\d.]+)/s\), growth",
        result.stdout,
    )
    grown, over_s, first, last, per_s = map(float, evidence.groups())
    assert grown == last - first > 0
    assert per_s == pytest.approx(grown / over_s, rel=0.02)
    assert "\x1b" not in result.stdout


def test_a_leak_is_told_by_how_much_and_how_fast_it_grew(child, capsys):
    """50 files a second, on a machine that is never late."""
    assert watch_paced(child(text=ASKED), "--every", 0.1, "--until-leak", per_s=50) == 1
    said = capsys.readouterr().out
    start = int(re.search(r"^\[START\] Open FDs: (\d+)", said, re.M)[1])
    assert f"\n[AFTER 0.1s] Open FDs: {start + 5}  |  Limit" in said
    assert (
        f"Open file descriptors: +35 over 0.7s ({start} to {start + 35}, +50/s), "
        "growth in every one of the last 8 reports"
    ) in said


def test_a_process_that_holds_still_is_no_leak(child):
    """The time is over: status 0 and a summary."""
    result = watch(child(per_s=0).pid, "--every", 0.1, "--duration", 1.2, "--until-leak")
    assert result.returncode == 0
    assert "The time is over, after " in result.stdout
    assert "WARNING" not in result.stdout


def test_a_report_is_made_at_each_interval(child, capsys):
    """The first is made at once."""
    assert watch_paced(child(text=ASKED), "--every", 0.1, "--duration", 1.2, "--until-leak") == 0
    assert "The time is over, after 1.2s and 13 reports:" in capsys.readouterr().out


def test_a_short_duration_finds_a_blatant_leak(child, capsys):
    """Also where there is no time for eight reports."""
    options = "--every", 0.25, "--duration", 1, "--until-leak"
    assert watch_paced(child(text=ASKED), *options, per_s=50) == 1
    assert "growth in every one of the last 4 reports" in capsys.readouterr().out


def test_a_process_that_ends_while_it_is_watched_is_said_to_have_ended(child):
    """A zombie, whose parent has not waited for it, has ended, too: status 0."""
    leaker = child(text=ASKED)
    command = [sys.executable, "-c", WATCH, str(leaker.pid), "--every", "0.2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as watcher:
        head = watcher.stdout.readline() + watcher.stdout.readline()
        leaker.stdin.close()  # it has nothing more to do
        rest, _ = watcher.communicate(timeout=60)
    assert "[START] Open FDs: " in head
    assert watcher.returncode == 0
    assert f"Process {leaker.pid} has ended, after " in rest


def test_a_process_that_does_not_exist_is_one_line():
    """Status 2; what `ps` still shows as a zombie has ended."""
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # and stays a zombie
    zombie = watch(ended.pid)
    ended.wait()
    missing = watch(ended.pid)
    error = "harness watch: error: "
    gone = f"{error}no process has PID {ended.pid}: `ps -e` lists"
    for result, said in (
        (zombie, f"{error}process {ended.pid} has ended (a zombie"),
        (missing, gone),
    ):
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(said)
        assert result.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_process_of_somebody_else_is_one_line(child):
    """`nobody` may not look into root's process: status 2."""
    become = (
        "import os, psutil, shutil, sys; from harness.watch import main; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main())"
    )
    leaker = child(per_s=0)
    result = watch(leaker.pid, code=become)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"process {leaker.pid} may not be read: it is another user's" in result.stderr
    assert result.stderr.count("\n") == 1
    by_name = watch("--name", "leaker.py", code=become)
    assert by_name.returncode == 2
    assert "no process of yours is called 'leaker.py'" in by_name.stderr


def test_a_name_that_fits_one_process_is_enough(child, tmp_path):
    """Its script's name; directories do not count."""
    name = f"service-{os.getpid()}.py"
    leaker = child(per_s=0, name=name)
    result = watch("--name", name, "--duration", 0.1)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Process {leaker.pid}: {sys.executable}")


def test_a_name_that_fits_none_or_several_is_one_line(child):
    """Several are named with their PIDs, so that one can be given."""
    name = f"worker-{os.getpid()}.py"
    first, second = child(per_s=0, name=name), child(per_s=0, name=name)
    several = watch("--name", name)
    assert several.returncode == 2
    assert f"2 processes are called '{name}': {first.pid} (" in several.stderr
    assert f"{second.pid} (" in several.stderr
    assert several.stderr.count("\n") == 1
    with pytest.raises(UsageError, match="no process of yours is called 'nothing'"):
        pid_of("nothing", lambda _name: [])


def test_control_characters_of_a_command_line_do_not_reach_the_terminal():
    """A program chooses its own command line."""
    assert short("app\x1b[2J\nx") == "app [2J x"
    assert short("a" * 70) == "a" * 59 + "…"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["1", "--until-leak", "--duration", "1", "--every", "2"],
            "--duration 1: nothing is judged before 4 s, with 3 reports; give a longer one",
        ),
        (["0"], "0 is not a whole number from 1"),
        (["x"], "x is not a whole number"),
        (["1", "--every", "nan"], "nan is not a number from 0.05"),
        (["1", "--name", "x"], "not allowed with"),
        ([], "one of the arguments PID --name is required"),
        (["--name", " "], "an empty name fits every process"),
    ],
)
def test_nonsense_is_one_line(arguments, said):
    """Status 2, the value and what to give."""
    result = watch(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_tells_the_exit_statuses_and_examples():
    """Each status that the command returns, and how to use it."""
    text = watch("--help").stdout
    assert "exit status:" in text
    assert "examples:" in text
    for status in ("0 ", "1 ", "2 ", "130 ", "141 "):
        assert f"\n  {status}" in text


def test_csv_rows_are_all_that_stdout_holds(child, capsys):
    """Numbers that add up; the summary goes to stderr."""
    options = "--csv", "--every", 0.2, "--duration", 0.8
    assert watch_paced(child(text=ASKED), *options, per_s=50) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(out.splitlines()))
    assert len(rows) == 5
    first = {name: float(cell) for name, cell in rows[0].items() if cell}
    kinds = ("file_fds", "device_fds", "pipe_fds", "socket_fds", "other_fds")
    assert sum(first[kind] for kind in kinds) == first["open_fds"]
    assert float(rows[-1]["open_fds"]) == first["open_fds"] + 40
    assert "The time is over" in err


def test_sockets_are_told_by_state(tmp_path):
    """A listener, a connection held after its peer has gone, a socket that is in no table."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        server.accept()[0].close()
        idle, left = socket.socket(), socket.socketpair()
        here = process.Process(os.getpid())
        assert Patience(10).until(lambda: "CLOSE_WAIT" in here.listing().states)
        listing = here.listing()
        for each in (client, idle, *left):
            each.close()
    assert Counter(listing.states) >= Counter(
        {"LISTEN": 1, "CLOSE_WAIT": 1, "UNIX": 2, process.ELSEWHERE: 1}
    )
    assert listing.kinds["socket"] == sum(listing.states.values())


def test_ctrl_c_ends_with_a_summary(child):
    """Status 130, no traceback."""
    leaker = child(per_s=0)
    command = [sys.executable, "-c", WATCH, str(leaker.pid), "--every", "30"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as watcher:
        head = watcher.stdout.readline() + watcher.stdout.readline()
        watcher.send_signal(signal.SIGINT)
        rest, errors = watcher.communicate(timeout=20)
    assert "[START] Open FDs: " in head
    assert rest.startswith("Interrupted, after ")
    assert (watcher.returncode, errors) == (130, "")


def test_a_reader_that_has_gone_ends_it_quietly(child):
    """As `| head -1` does: status 141, no traceback."""
    leaker = child(per_s=0)
    command = [sys.executable, "-c", WATCH, str(leaker.pid), "--every", "0.1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as watcher:
        watcher.stdout.readline()
        watcher.stdout.close()
        assert watcher.stderr.read() == ""
        assert watcher.wait(20) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    """Status 2 and what the system says, no traceback."""
    command = [sys.executable, "-c", WATCH, str(os.getpid()), "--duration", "0.1"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert "cannot write the output: No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1


def on_terminal(pid, environment):
    """Return what a terminal of 100 columns gets while a process is watched, and the status."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", WATCH, str(pid), "--every", "0.2", "--duration", "0.6"]
    given = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", **environment}
    watcher = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, env=given)
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 65536):
            text += part
    except OSError:
        pass  # Linux says so when the other end of a terminal is closed
    os.close(ours)
    return text, watcher.wait(20)


def test_a_terminal_shows_a_live_table(child):
    """Figures, kinds and the limit in one table, then the summary below it."""
    text, status = on_terminal(child(per_s=50).pid, {"PYTHONIOENCODING": "utf-8"})
    shown = text.decode()
    assert status == 0
    for cell in ("Open file descriptors", "limit in", "Since start", "Descriptors by kind", "┃"):
        assert cell in shown
    assert shown.rindex("The time is over") > shown.rindex("┃")


def test_a_terminal_without_colour_and_unicode_gets_neither(child):
    """NO_COLOR and an ASCII encoding are honoured."""
    plain = {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    text, status = on_terminal(child(per_s=50).pid, plain)
    assert status == 0
    assert b"Open file descriptors" in text
    assert text.isascii()
    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", text)
