"""The pytest plugin: `@pytest.mark.no_leaks`, the `leaks` and `low_fd_limit` fixtures, and
`--check-leaks` for a whole suite.

A test leaks when what it opened is still open after its teardown, garbage collection and a short
back-off. What fixtures of a wider scope open is theirs to close. With `calls=`, the test is called
in rounds and leaks when something grows in every round.
"""

import gc
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib import import_module
from time import sleep  # by name: a test may put its own stand-in into `time`
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from harness.findings import Leak, Plan, Result

if TYPE_CHECKING:
    from harness.rounds import Key
    from harness.tracker import Tracker

LOW_FD_LIMIT = 256
SPARE_DESCRIPTORS = 32
BACK_OFF_S = (0.001, 0.002, 0.004, 0.01, 0.02, 0.04, 0.1)
WITHOUT_CLOSING = frozenset(
    {"request", "leaks", "low_fd_limit", "tmp_path", "tmp_path_factory", "worker_id", "testrun_uid"}
)
"""Fixtures whose teardown closes nothing that a test opened: no need to wait for it."""
CLOSING_NOTHING = frozenset(
    {"_pytest", "harness", "pytest_cov", "pytest_randomly", "pytest_rerunfailures", "pytest_socket"}
)
"""Packages whose hooks on a teardown close nothing that a test opened either."""
JUDGES = "harness.tracker", "harness.rounds", "harness.check", "harness.holders"
"""The modules that look at what is open and say what it is."""
OTHERS = ("pytest_timeout *",)
"""Threads of other plugins, by their names: pytest-timeout's timer."""

# fmt: off
KINDS = {
    "file", "fd", "socket", "pipe", "process", "thread", "executor", "task", "transport",
    "selector", "mmap", "sqlite3", "directory", "device", "memory", "epoll", "kqueue", "eventfd",
    "timerfd", "signalfd", "pidfd", "inotify", "fanotify", "io_uring", "userfaultfd", "perf_event",
}
# fmt: on
"""The kinds that `allow` and `kinds` can name."""

ARGUMENTS = "calls", "allow", "kinds"
AWAITS = (
    "leaks.check() awaits a coroutine function in an event loop of its own, and one runs here: "
    "call it in a test that is not async, or mark an async test with no_leaks(calls=…)"
)
MARKER = """no_leaks(calls=None, allow=None, kinds=None): fail the test if what it opened is still
open after it. calls: call it in rounds of so many calls and fail if anything grows in every round.
allow: how many of a kind may stay open, such as {"thread": 1}. kinds: look at these kinds only."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--check-leaks` and `--low-fd-limit`."""
    group = parser.getgroup("leaks")
    group.addoption(
        "--check-leaks",
        action="store_true",
        help="fail every test that leaves a file, socket, process, thread, task … open",
    )
    group.addoption(
        "--low-fd-limit",
        type=int,
        default=LOW_FD_LIMIT,
        metavar="N",
        help="descriptors that the low_fd_limit fixture leaves (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", " ".join(MARKER.split()))


@dataclass(frozen=True)
class Rules:
    """What counts: `kinds` (`None`: all) and how many of a kind may stay open."""

    calls: int | None = None
    allow: Mapping[str, int] = field(default_factory=dict)
    kinds: Collection[str] | None = None

    def broken_by(self, leaks: Collection[Leak]) -> list[Leak]:
        """Return the leaks that are not allowed, without as many of each kind as are."""
        left = Counter(self.allow)
        broken = []
        for leak in leaks:
            allowed = min(left[leak.kind], leak.count)
            left[leak.kind] -= allowed
            if leak.count > allowed and (self.kinds is None or leak.kind in self.kinds):
                broken.append(leak)
        return broken


class Leaks:
    """What a test has opened and not closed; also a context manager that allows nothing more.

    def test_export(leaks):
        with leaks:
            export()
        assert leaks.check(export).verdict == "clean"
    """

    def __init__(self, tracker: "Tracker", item: pytest.Item) -> None:
        self.tracker = tracker
        self._item = item
        self._before: list[Counter[Key]] = []  # of each block that is entered, the inner one last

    def open(self) -> tuple[Leak, ...]:
        """Return what this test opened that is open now, after a garbage collection."""
        return self._beyond(Counter())

    def check(
        self, call: Callable[[], object], calls: int | None = None, rounds: int = 4
    ) -> Result:
        """Call `call` in rounds of `calls` and judge what grows, as `harness check` does.

        Raises:
            RuntimeError: a coroutine function was given where an event loop runs.
        """
        from harness.rounds import Sight, check, is_async

        if is_async(call) and _loop_runs():
            raise RuntimeError(AWAITS)
        return check(self._forgetting(call), Plan(calls, rounds), Sight(self.tracker))

    def settled(self, rules: Rules, before: "Counter[Key]") -> list[Leak]:
        """Return what breaks the rules once it had time to close, and was not open `before`.

        It is looked for first, and garbage collected only where there is some: that takes long.
        """
        _forget_records(self._item)
        if not rules.broken_by(_new(self.listed() - before)):
            return []
        for pause_s in (*BACK_OFF_S, 0):
            broken = rules.broken_by(_new(self._count() - before))
            if not broken:
                return []
            sleep(pause_s)
        return rules.broken_by(self._beyond(before))

    def listed(self) -> "Counter[Key]":
        """Return what is open now by kind and opening line, garbage too."""
        from harness.rounds import _keys, _open

        return Counter(_keys(_open(self.tracker)))

    def __enter__(self) -> Self:
        self._before.append(self._count())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        before = self._before.pop()
        if kind is None:
            left = self.settled(Rules(), before)
            if left:
                pytest.fail(sentences("the block", left, 1), pytrace=False)

    def _count(self) -> "Counter[Key]":
        from harness.rounds import count_open

        _forget_records(self._item)
        return count_open(self.tracker)

    def _forgetting(self, call: Callable[[], object]) -> Callable[[], object]:
        """Return `call` with an empty log at the start of each, which would only grow."""
        from harness.rounds import is_async

        def each() -> object:
            _forget_log(self._item)
            return call()

        async def each_async() -> object:
            return await cast(Awaitable[object], each())

        return each_async if is_async(call) else each

    def _beyond(self, before: "Counter[Key]") -> tuple[Leak, ...]:
        from harness.rounds import leaks_of
        from harness.verdict_growth import Growth, Trend

        grown = self._count() - before
        growths = {key: Growth(Trend.GROWING, count, count) for key, count in grown.items()}
        return leaks_of(growths, self.tracker) if growths else ()


def _log_handlers(item: pytest.Item) -> list[Any]:
    """Return pytest's handlers that keep what is logged, without caplog's where a test reads it."""
    plugin = item.config.pluginmanager.get_plugin("logging-plugin")
    names = ["report_handler"]
    if "caplog" not in getattr(item, "funcargs", ()):
        names.append("caplog_handler")
    return [getattr(plugin, name) for name in names if hasattr(plugin, name)]


def _forget_records(item: pytest.Item) -> None:
    """Drop logged records, not their text: a logged traceback holds what its frames had open."""
    for handler in _log_handlers(item):
        handler.records.clear()


def _forget_log(item: pytest.Item) -> None:
    for handler in _log_handlers(item):
        handler.clear()


def _new(grown: "Counter[Key]") -> list[Leak]:
    """Return what is new without who holds it."""
    return [Leak(key[0], count, count, key[1], ()) for key, count in grown.items()]


def _loop_runs() -> bool:
    import asyncio

    with suppress(RuntimeError):
        return asyncio.get_running_loop() is not None
    return False


def sentences(what: str, leaks: Collection[Leak], calls: int) -> str:
    """Return the failure's text: what leaks, the evidence, the next thing to do."""
    from harness.check import describe

    lines = [f"{what} leaks {_total(leaks)}"]
    for leak in leaks:
        lines += describe(leak, calls)
    lines.append("close them in the test or its fixtures, or allow them: no_leaks(allow={…})")
    return "\n".join(lines)


def _total(leaks: Collection[Leak]) -> str:
    from harness.check import noun

    total = sum(leak.count for leak in leaks)
    kinds = {leak.kind for leak in leaks}
    if kinds == {"memory"}:
        return f"{total:,} bytes of memory"
    return f"{total} {noun(kinds.pop(), total) if len(kinds) == 1 else 'resources'}"


@dataclass
class _Attempt:
    """One run of a test, of which a plugin may make several: what it opened, what counts."""

    leaks: Leaks
    rules: Rules | None
    passed: bool = False
    failed: bool = False  # a part of it too: a subtest
    judged: bool = False


_ATTEMPT = pytest.StashKey[_Attempt]()


def _start(item: pytest.Item, rules: Rules | None) -> _Attempt:
    from harness.tracker import Tracker

    tracker = Tracker(exclude=OTHERS)
    item.stash[_ATTEMPT] = _Attempt(Leaks(tracker.__enter__(), item), rules)
    return item.stash[_ATTEMPT]


def _end(item: pytest.Item) -> None:
    if _ATTEMPT in item.stash:
        item.stash[_ATTEMPT].leaks.tracker.__exit__(None, None, None)
        del item.stash[_ATTEMPT]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Take the tracker away also where an interruption leaves no time for a teardown."""
    try:
        return (yield)
    finally:
        _end(item)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a marker that is not understood before any test has run.

    A worker of pytest-xdist may refuse nothing: there, the test itself fails.
    """
    if not hasattr(config, "workerinput"):
        for item in items:
            if misuse := _misuse(item):
                raise pytest.UsageError(misuse)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Import what judges while no test has put a stand-in for what it looks with."""
    if any(map(_is_watched, session.items)):
        for name in JUDGES:
            import_module(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Track what a test opens from before its setup on: each attempt anew, where it is rerun."""
    if _is_watched(item):
        _start(item, _rules(item))
    return (yield)


def _is_watched(item: pytest.Item) -> bool:
    return _rules(item) is not None or "leaks" in getattr(item, "fixturenames", ())


@pytest.hookimpl(specname="pytest_runtest_setup", tryfirst=True)
def pytest_setup_refused(item: pytest.Item) -> None:
    """Fail a test whose marker is not understood: its worker could not refuse it before."""
    if misuse := _misuse(item):
        pytest.fail(misuse, pytrace=False)


def _misuse(item: pytest.Item) -> str:
    """Return in one line what is wrong with a test's marker, "" where nothing is."""
    marker = item.get_closest_marker("no_leaks")
    wrong = "" if marker is None else _wrong_in(marker) or _not_in_rounds(item, marker)
    return f"{item.nodeid}: no_leaks: {wrong}; {' '.join(MARKER.split())}" if wrong else ""


def _rules(item: pytest.Item) -> Rules | None:
    marker = item.get_closest_marker("no_leaks")
    if marker is None:
        return Rules() if item.config.getoption("check_leaks") else None
    if _misuse(item):
        return None
    given = {**dict(zip(ARGUMENTS, marker.args, strict=False)), **marker.kwargs}
    return Rules(given.get("calls"), given.get("allow") or {}, given.get("kinds"))


def _not_in_rounds(item: pytest.Item, marker: pytest.Mark) -> str:
    """Refuse rounds of what cannot be called: a method that unittest runs, a doctest."""
    is_function = isinstance(item, pytest.Function) and not _is_unittest(item)
    calls = next(iter(marker.args), marker.kwargs.get("calls"))
    return "" if is_function or calls is None else "calls= is for test functions only"


def _is_unittest(item: pytest.Function) -> bool:
    unittest = sys.modules.get("unittest")
    return bool(unittest and item.cls and issubclass(item.cls, unittest.TestCase))


def _wrong_in(marker: pytest.Mark) -> str:
    twice = sorted(marker.kwargs.keys() & {*ARGUMENTS[: len(marker.args)]})
    if twice:
        return f"{', '.join(twice)} given twice"
    return _wrong(*marker.args, **marker.kwargs)


def _wrong(
    calls: object = None,
    allow: object = None,
    kinds: object = None,
    *more: object,
    **unknown: object,
) -> str:
    """Say what is wrong with a marker's arguments, "" where nothing is."""
    if more or unknown:
        return f"there is no {', '.join([*map(repr, more), *unknown])}"
    if calls is not None and not _is_whole(calls, 1):
        return f"calls={calls!r}: give a whole number of 1 or more"
    return _wrong_allow(allow) or _wrong_kinds(kinds, calls)


def _wrong_allow(allow: object) -> str:
    if allow is None:
        return ""
    if not isinstance(allow, Mapping) or not all(_is_whole(each, 0) for each in allow.values()):
        return f"allow={allow!r}: give a number for each kind"
    return _strange(allow)


def _wrong_kinds(kinds: object, calls: object) -> str:
    if kinds is None:
        return ""
    if isinstance(kinds, str) or not isinstance(kinds, Collection) or not kinds:
        return f"kinds={kinds!r}: give a list"
    if "memory" in kinds and calls is None:
        return f"kinds={kinds!r}: memory is judged in rounds only: give calls= too"
    return _strange(kinds)


def _is_whole(value: object, least: int) -> bool:
    """Tell a whole number; `True` is none that anybody means."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _strange(kinds: Collection[object]) -> str:
    strange = sorted(repr(each) for each in kinds if str(each) not in KINDS)
    known = ", ".join(sorted(KINDS))
    return f"no kind is called {', '.join(strange)}, only {known}" if strange else ""


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Leave out what a fixture of a wider scope than one test opens: it outlives the test."""
    attempt = request.node.stash.get(_ATTEMPT, None) or _current(request)
    with ExitStack() as stack:
        if attempt is not None and fixturedef.scope != "function":
            stack.enter_context(attempt.leaks.tracker.unwatched())
        return (yield)


def _current(request: pytest.FixtureRequest) -> _Attempt | None:
    item = getattr(request, "_pyfuncitem", None)
    return item.stash.get(_ATTEMPT, None) if item is not None else None


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Call a test with `calls=` in rounds; judge others at once where no teardown may close."""
    attempt = pyfuncitem.stash.get(_ATTEMPT, None)
    if attempt is None or attempt.rules is None or attempt.judged:  # one of the rounds
        return (yield)
    rules, leaks = attempt.rules, attempt.leaks
    of_fixtures = leaks.listed()
    result = yield
    if attempt.failed:
        return result
    if rules.calls is not None:
        attempt.judged = True
        _judge_rounds(pyfuncitem, rules, leaks)
    elif not _may_close(pyfuncitem):
        attempt.judged = True
        _judge(pyfuncitem, rules, leaks)
    else:
        tasks = Rules(allow=rules.allow, kinds=_tasks(rules))
        _judge(pyfuncitem, tasks, leaks, of_fixtures)
    return result


def _may_close(item: pytest.Function) -> bool:
    """Tell whether a fixture's teardown, or a hook on it, may close what the test opened."""
    hooks = item.ihook.pytest_runtest_teardown.get_hookimpls()
    packages = {hook.function.__module__.partition(".")[0] for hook in hooks}
    finalizes = "request" in item._fixtureinfo.argnames  # its own; that of tmp_path is no matter
    known = set(item.fixturenames) <= WITHOUT_CLOSING and packages <= CLOSING_NOTHING
    return finalizes or not known


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how a test of any sort ended: one that failed is not blamed for leaking too.

    Each of its subtests is reported like it, and it passes all the same.
    """
    report = yield
    attempt = item.stash.get(_ATTEMPT, None)
    if attempt is not None and call.when == "call":
        attempt.failed |= report.failed
        attempt.passed = report.passed and not attempt.failed
    return report


def _tasks(rules: Rules) -> Collection[str]:
    """A task must be judged before the loop's teardown cancels it."""
    return {"task"} & set(rules.kinds or {"task"})


def _judge_rounds(item: pytest.Function, rules: Rules, leaks: Leaks) -> None:
    from harness.errors import UsageError

    try:
        result = leaks.check(_call_of(item), rules.calls)
    except UsageError as error:
        pytest.fail(f"{item.nodeid}: no_leaks(calls=…): {error}", pytrace=False)
    broken = rules.broken_by(result.leaks)
    if broken:
        _fail(item, broken, result.calls, result.reason)


def _call_of(item: pytest.Function) -> Callable[[], object]:
    """Return what calls a test: a coroutine function through the plugin that runs it, as anyio's.

    pytest-asyncio has made a plain function of it.
    """
    from harness.rounds import is_async

    names = item._fixtureinfo.argnames
    arguments = {name: item.funcargs[name] for name in names}

    def call() -> object:
        if isinstance(caplog := item.funcargs.get("caplog"), pytest.LogCaptureFixture):
            caplog.clear()  # each call reads its own log
        if is_async(item.obj):
            return item.ihook.pytest_pyfunc_call(pyfuncitem=item)
        return item.obj(**arguments)

    return call


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Judge a test once its fixtures had the chance to close what it opened."""
    try:
        result = yield
        attempt = item.stash.get(_ATTEMPT, None)
        if attempt is not None and attempt.rules and attempt.passed and not attempt.judged:
            _drop_arguments(item)
            _judge(item, attempt.rules, attempt.leaks)
        return result
    finally:
        _end(item)


def _drop_arguments(item: pytest.Item) -> None:
    """Drop what a test's arguments alone hold, as pytest does right after this anyway."""
    arguments = getattr(item, "funcargs", None)
    if arguments:
        arguments.clear()


def _judge(
    item: pytest.Item, rules: Rules, leaks: Leaks, before: "Counter[Key] | None" = None
) -> None:
    left = leaks.settled(rules, before or Counter())
    if left:
        _fail(item, left, 1)


def _fail(item: pytest.Item, leaks: Collection[Leak], calls: int, reason: str = "") -> None:
    then = f"\nthen a call failed: {reason}" if reason else ""
    pytest.fail(sentences(item.nodeid, leaks, calls) + then, pytrace=False)


@pytest.fixture
def leaks(request: pytest.FixtureRequest) -> Leaks:
    """What this test has opened and not closed: `open()`, `check(function)`, `with leaks:`.

    Where a test asks for it only as it runs (`getfixturevalue`), what it opens from there on.
    """
    item = request.node
    attempt: _Attempt = item.stash.get(_ATTEMPT, None) or _start(item, None)
    return attempt.leaks


@pytest.fixture
def low_fd_limit(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run the test with few descriptors left (`ulimit -n 256`), so that a leak shows early.

    Gives the limit: `--low-fd-limit`, or 32 above what is open already where that is more, but no
    more than the hard limit.
    """
    from harness.limits import limited, soft
    from harness.tracking.descriptors import list_descriptors

    gc.collect()
    needed = max(list_descriptors(), default=0) + SPARE_DESCRIPTORS
    limit = max(request.config.getoption("low_fd_limit"), needed)
    with limited(limit):
        yield int(soft())
