"""What the check says of copies that do not get as far as leaking: one clear sentence each."""

import re
import time
from collections.abc import Callable

import pytest
from running import ROOT

from labs.course import judged as judged_module
from labs.course.judge import Judgement, judge

LEAKY = (ROOT / "leaky" / "file_leak.py").read_text(encoding="utf-8")
FIXED = (ROOT / "fixed" / "file_leak.py").read_text(encoding="utf-8")
WRITE = "            file.write(records)\n"
MISUSES = {
    "syntax error": (
        "def recent(self)",
        "def recent(self",
        r"copy\.py:28: .*: def recent\(self -> list",
    ),
    "import error": ("RECENT = 20", "RECENT = missing", r"copy\.py:10 .*NameError: name 'missing'"),
    "exit at import": ("RECENT = 20", "raise SystemExit(3)", r"importing it called sys\.exit at "),
    "class gone": ("class LogAggregator", "class Other", r"LogAggregator is missing"),
    "method gone": ("def recent(", "def latest(", r"LogAggregator\.recent is missing"),
    "parameter renamed": (
        "records: str)",
        "text: str)",
        r"callers pass self, batch, records; keep",
    ),
    "made async": ("    def store", "    async def store", r"need it to be def, not async"),
    "endless loop": (
        WRITE,
        "            while True: pass\n",
        r"operation 1 did not end within 1 s: it was at \S*copy\.py:24 in LogAggregator\.store",
    ),
    "stuck for good": (
        WRITE,
        "            import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "            import threading; threading.Event().wait()\n",
        r"it did not come to an end, and could not be interrupted",
    ),
    "recursion": (
        "        path = self",
        "        self.store(batch, records)\n        path = self",
        r"operation 1 called itself without an end \(RecursionError\) at \S*copy\.py:22",
    ),
    "all descriptors at once": (
        WRITE,
        "            return self.store(batch, records)\n",
        r"operation 1 used up all 256 descriptors, and gave them back: open one at a time",
    ),
    "sys.exit": (
        WRITE,
        "            raise SystemExit\n",
        r"operation 1 called sys\.exit at \S*:24",
    ),
    "os._exit": (WRITE, "            import os; os._exit(4)\n", r"with status 4 \(os\._exit\?\)"),
    "fork": (
        WRITE,
        "            file.write(records); import os; os.fork()\n",
        r"it forks the process at \S*copy\.py:24",
    ),
    "signal": (
        WRITE,
        "            import os; os.kill(os.getpid(), 15)\n",
        r"its process was ended by SIGTERM",
    ),
    "error": (
        WRITE,
        "            raise KeyError(batch)\n",
        r"operation 1 raised KeyError: 0 at \S*copy\.py:24 .*; it should return 15",
    ),
    "stream closed": (
        WRITE,
        "            file.write(records)\n        import os; batch or os.close(1)\n",
        r"it closed descriptor 1, a standard stream",
    ),
}


@pytest.fixture(scope="module")
def judgements(tmp_path_factory) -> dict[str, Judgement]:
    """All the copies below, judged by one process after the other's end."""
    copies = {}
    for name, (old, new, _) in MISUSES.items():
        assert old in FIXED
        copies[name] = tmp_path_factory.mktemp("misuse") / "copy.py"
        copies[name].write_text(FIXED.replace(old, new), encoding="utf-8")
    return dict(zip(copies, judge("file_leak", list(copies.values())), strict=True))


@pytest.mark.parametrize("name", MISUSES)
def test_each_misuse_has_a_sentence_of_its_own(name, judgements):
    """It names what was done, and the line where it was; the judge itself goes on."""
    assert not judgements[name].passed
    sentence = judgements[name].findings[0][0]
    assert re.search(MISUSES[name][2], sentence), sentence


def judged(tmp_path, source: str) -> Judgement:
    """Return the judgement on a copy with this source."""
    copy = tmp_path / "copy.py"
    copy.write_text(source, encoding="utf-8")
    return judge("file_leak", [copy])[0]


def test_a_copy_that_kills_its_judge_is_told_so(tmp_path):
    """The command itself lives on to say it."""
    murder = WRITE + "            import os; os.kill(os.getppid(), 9)\n"
    judgement = judged(tmp_path, FIXED.replace(WRITE, murder))
    assert "ended the process that judges it" in judgement.findings[0][0]


def test_what_a_copy_prints_is_shown_and_no_fault(tmp_path):
    """Someone who looks for a leak with print is not punished, and the verdict not disturbed."""
    judgement = judged(
        tmp_path, FIXED.replace(WRITE, WRITE + "            print('stored', batch)\n")
    )
    assert judgement.passed
    assert judgement.printed == ("stored 0", "stored 1", "stored 2", "… 42 more")


def test_a_leak_is_told_with_line_holder_and_growth(tmp_path):
    """The starter's verdict: what, how many, opened where, held by whom."""
    leak, *_ = judged(tmp_path, LEAKY).findings
    text = " ".join(leak)
    assert text.startswith("detected 40 unclosed files after 40 operations (1 per operation), ")
    assert f"opened at {tmp_path}/copy.py:24 in LogAggregator.store" in text
    assert "held by LogAggregator._recent (list, 45 items) → TextIOWrapper (1 of 45 alike)" in text


def test_a_misspelled_name_comes_before_what_followed_from_it(tmp_path):
    """The files that the error let go of are told behind it."""
    typo = LEAKY.replace("append(file)", "append(fiel)")
    first, second = (finding[0] for finding in judged(tmp_path, typo).findings[:2])
    assert "raised NameError: name 'fiel' is not defined" in first
    assert "ResourceWarning" in second


def test_what_every_test_stumbles_over_is_told_once(tmp_path):
    """Three tests end with the error of one misspelled name: one bullet, not three."""
    typo = LEAKY.replace("append(file)", "append(fiel)")
    [told] = [each for each in judged(tmp_path, typo).findings if "the test" in each[0]]
    assert "raised NameError: name 'fiel' is not defined" in told[0]
    assert told[1:] == ("so did 2 more tests",)


def test_a_fixed_copy_passes_within_two_seconds(tmp_path):
    """And the judgement says what it was seen to do. On a busy machine: the best of a minute's."""
    best_s, until_s = 60.0, time.monotonic() + 60
    while best_s >= 2 and time.monotonic() < until_s:
        began_s = time.monotonic()
        judgement = judged(tmp_path, FIXED)
        best_s = min(best_s, time.monotonic() - began_s)
        assert judgement.passed and len(judgement.kept) == 4 and judgement.operations == 40
    assert best_s < 2


class Fork:
    """A process that ends when it has been waited for `ticks` times."""

    pid = 0

    def __init__(self, ticks: int) -> None:
        self._left = ticks
        self.is_killed = False

    @property
    def exitcode(self) -> int | None:
        """Return 0 when it has ended."""
        return None if self._left else 0

    def is_alive(self) -> bool:
        """Tell whether it has not."""
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Let a tick pass; one that was killed has no more to come."""
        self._left = max(0, self._left - 1) if timeout else self._left

    def kill(self) -> None:
        """Note that it was ended."""
        self.is_killed = self.is_alive()


class Ticks:
    """Patience for three ticks, whatever the time."""

    def __init__(self, _limit_s: float, starved_s: Callable[[], float]) -> None:
        self._left = 3

    def lasts(self) -> bool:
        """Let one go by."""
        self._left -= 1
        return self._left >= 0


@pytest.mark.parametrize(("ticks", "code"), [(3, 0), (4, None)])
def test_each_fork_has_a_limit_of_its_own(ticks, code, monkeypatch):
    """On a busy machine the drive may take all of its time: the tests have theirs all the same."""
    monkeypatch.setattr(judged_module, "Patience", Ticks)
    behave = Fork(ticks)
    assert judged_module._ended(Fork(3), Fork(3), behave) == [0, code]
    assert behave.is_killed == (code is None)
