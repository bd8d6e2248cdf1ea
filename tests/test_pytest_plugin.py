"""Examples of the pytest plugin, each a small suite run by a pytest of its own."""

from pathlib import Path

import pytest

from harness.findings import Leak
from harness.pytest_plugin import _wrong, sentences

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]

KEEP = """
    import asyncio, os, threading
    import pytest

    KEPT = []

    def leak():
        KEPT.append(open(os.devnull))
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Run a suite of one file with the plugin; returns its result."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=KEEP + code)
        plugin = ("-p", "harness.pytest_plugin", "-p", "no:cacheprovider")
        return pytester.runpytest_subprocess(*plugin, *options)

    return run


def test_a_marked_test_that_leaks_fails_with_line_and_holder(suite):
    """The failure reads as evidence: how many of what, opened where, held by what."""
    result = suite("""
    @pytest.mark.no_leaks
    def test_leaky():
        leak()

    @pytest.mark.no_leaks
    def test_fixed():
        open(os.devnull).close()

    def test_unmarked():
        leak()
    """)
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_leaky leaks 1 file",
            "detected 1 unclosed file after 1 call (1 per call), opened at *test_it.py:* in leak",
            "*held by test_it.KEPT (list, 1 item) → TextIOWrapper",
        ]
    )


def test_a_whole_suite_is_checked_and_the_right_test_is_blamed(suite):
    """What an earlier test left open is not held against the next."""
    result = suite(
        """
    def test_before():
        pass

    def test_leaky():
        leak()

    def test_after():
        pass
    """,
        "--check-leaks",
    )
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_leaky*"])


def test_calls_judges_growth_so_that_a_cache_is_clean(suite):
    """With calls= the test is called in rounds: a cache fills, a leak grows."""
    result = suite("""
    CACHE = {}

    @pytest.mark.no_leaks(calls=10)
    def test_cache():
        if "x" not in CACHE:
            CACHE["x"] = open(os.devnull)

    @pytest.mark.no_leaks(calls=10)
    def test_leaky():
        leak()
    """)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*leaks 40 files*", "*after 40 calls (1 per call)*"])


def test_allow_and_kinds_narrow_what_counts(suite):
    """One thread more is allowed, two are not; a file does not count among threads."""
    result = suite("""
    def start():
        threading.Thread(target=threading.Event().wait, daemon=True).start()

    @pytest.mark.no_leaks(allow={"thread": 1})
    def test_one():
        start()

    @pytest.mark.no_leaks(allow={"thread": 1})
    def test_two():
        start(); start()

    @pytest.mark.no_leaks(kinds={"thread"})
    def test_file():
        leak()
    """)
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["test_it.py::test_two leaks 2 threads"])


def test_fixtures_may_close_what_a_test_opened_and_keep_what_is_theirs(suite):
    """Function fixtures are judged after their teardown; those of a wider scope not at all."""
    result = suite(
        """
    @pytest.fixture(scope="module")
    def server():
        handle = open(os.devnull)
        yield handle
        handle.close()

    @pytest.fixture
    def pool():
        handles = []
        yield handles
        for handle in handles:
            handle.close()

    @pytest.fixture
    def forgetful():
        KEPT.append(open(os.devnull))

    def test_tidy(server, pool):
        pool.append(open(os.devnull))

    def test_untidy(forgetful):
        pass
    """,
        "--check-leaks",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["ERROR test_it.py::test_untidy*"])


ASYNC = """
    @pytest.mark.no_leaks
    @pytest.mark.asyncio
    async def test_file():
        leak()

    @pytest.mark.no_leaks
    @pytest.mark.asyncio
    async def test_task():
        KEPT.append(asyncio.create_task(asyncio.sleep(100)))

    @pytest.mark.no_leaks
    @pytest.mark.asyncio
    async def test_fixed():
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        server.close()
        await server.wait_closed()
        await asyncio.create_task(asyncio.sleep(0))

    @pytest.mark.no_leaks(calls=10)
    @pytest.mark.asyncio
    async def test_rounds():
        leak()
"""


def test_async_tests_are_judged_as_well(suite):
    """With pytest-asyncio: a file, and a task that nobody awaits, but not the loop itself."""
    pytest.importorskip("pytest_asyncio")
    result = suite(ASYNC, "-p", "pytest_asyncio.plugin")
    outcomes = result.parseoutcomes()
    blamed = {
        line.split("::")[1].split()[0]
        for line in result.outlines
        if "py::" in line and "leaks" in line
    }
    assert blamed == {"test_file", "test_task", "test_rounds"}, outcomes


def test_a_task_of_a_fixture_is_the_fixtures_to_end(suite):
    """It runs while the test does; a task that the test makes is the test's."""
    pytest.importorskip("pytest_asyncio")
    code = """
    import asyncio, pytest_asyncio

    @pytest_asyncio.fixture
    async def worker():
        task = asyncio.create_task(asyncio.sleep(100))
        yield task
        task.cancel()
        await asyncio.wait([task])

    @pytest.mark.asyncio
    async def test_of_fixture(worker):
        await asyncio.sleep(0)

    @pytest.mark.asyncio
    async def test_own(worker):
        KEPT.append(asyncio.create_task(asyncio.sleep(100)))
    """
    result = suite(code, "--check-leaks", "-p", "pytest_asyncio.plugin")
    outcomes = result.parseoutcomes()
    assert (outcomes.get("passed"), outcomes.get("failed")) == (1, 1)
    result.stdout.fnmatch_lines(["*::test_own leaks 1 task*"])


def test_it_works_under_xdist(suite):
    """Each worker judges its own tests."""
    pytest.importorskip("xdist")
    code = """
    def test_leaky():
        leak()

    @pytest.mark.parametrize("number", range(3))
    def test_fixed(number):
        open(os.devnull).close()
    """
    result = suite(code, "--check-leaks", "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(failed=1, passed=3)


def test_the_leaks_fixture_watches_a_block_and_checks_a_function(suite):
    """`with leaks:` allows nothing more to be open at its end; `leaks.check` judges growth."""
    result = suite("""
    def test_block(leaks):
        before = open(os.devnull)
        with leaks:
            open(os.devnull).close()
        assert [leak.kind for leak in leaks.open()] == ["file"]
        before.close()
        assert leaks.open() == ()

    def test_block_leaks(leaks):
        with leaks:
            leak()

    def test_function(leaks):
        assert leaks.check(leak, calls=10).verdict == "leak"
        assert leaks.check(lambda: open(os.devnull).close(), calls=10).verdict == "clean"
    """)
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["the block leaks 1 file"])


def test_low_fd_limit_makes_a_leak_show_early(suite):
    """Few descriptors are left in the test, and the limit is as before after it."""
    result = suite(
        """
    import resource

    def test_few(low_fd_limit):
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == low_fd_limit == 128
        with pytest.raises(OSError, match="Too many open files"):
            for _ in range(200):
                leak()
        KEPT.clear()

    def test_many():
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 128
    """,
        "--low-fd-limit",
        "128",
    )
    result.assert_outcomes(passed=2)


def test_low_fd_limit_gives_the_limit_that_holds(suite):
    """No test can go beyond the hard limit."""
    result = suite(
        """
    import resource

    @pytest.fixture(scope="module", autouse=True)
    def hard():
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    def test_it(low_fd_limit):
        assert low_fd_limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 512
    """,
        "--low-fd-limit",
        "1000",
    )
    result.assert_outcomes(passed=1)


def test_a_failing_test_is_not_blamed_for_what_its_traceback_holds(suite):
    """Its own failure is what matters."""
    result = suite(
        """
    def test_fails(tmp_path):
        handle = open(os.devnull)
        assert False
    """,
        "--check-leaks",
    )
    result.assert_outcomes(failed=1)


def test_a_misspelt_argument_of_the_marker_is_said(suite):
    """An unknown argument would otherwise check nothing."""
    result = suite("""
    @pytest.mark.no_leaks(cals=10)
    def test_it():
        pass
    """)
    assert result.ret != 0
    assert "cals" in result.stdout.str() + result.stderr.str()


def test_a_marker_that_is_not_understood_is_told_before_any_test_runs(suite):
    """A kind that does not exist would look at nothing, and pass for ever."""
    result = suite("""
    def test_before(): print("ran")

    @pytest.mark.no_leaks(kinds=["files"])
    def test_marked(): pass
    """)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = "*test_it.py::test_marked: no_leaks: no kind is called 'files', only *"
    result.stderr.fnmatch_lines([said])
    result.assert_outcomes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"callz": 3}, "there is no callz"),
        ({"calls": 0}, "calls=0: give a whole number of 1 or more"),
        ({"kinds": "file"}, "kinds='file': give a list"),
        ({"allow": "thread"}, "allow='thread': give a number for each kind"),
        ({"calls": True}, "calls=True: give a whole number of 1 or more"),
        ({"allow": 0}, "allow=0: give a number for each kind"),
        ({"allow": {"file": "x"}}, "allow={'file': 'x'}: give a number for each kind"),
        ({"allow": {"file": None}}, "allow={'file': None}: give a number for each kind"),
        ({"allow": {"file": -1}}, "allow={'file': -1}: give a number for each kind"),
        ({"kinds": 0}, "kinds=0: give a list"),
        ({"kinds": []}, "kinds=[]: give a list"),
        (
            {"kinds": ["memory"]},
            "kinds=['memory']: memory is judged in rounds only: give calls= too",
        ),
        ({"calls": 5, "allow": {"thread": 1}, "kinds": ["thread", "memory"]}, ""),
    ],
)
def test_what_is_wrong_with_a_marker_is_said(arguments, said):
    """With the argument and its value."""
    assert _wrong(**arguments) == said


@pytest.mark.parametrize("kinds", [[["a"]], [1, "x"]])
def test_a_kind_that_is_no_string_is_told_like_any_other(kinds):
    """It can be neither hashed nor sorted."""
    assert repr(kinds[0]) in _wrong(kinds=kinds).partition(", only ")[0]


def test_the_marker_takes_its_arguments_in_their_order(suite):
    """The documentation gives calls, allow, kinds: what they say holds without names too."""
    result = suite("""
    @pytest.mark.no_leaks(10, {"thread": 1}, ["file"])
    def test_it():
        leak()
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it leaks 40 files"])


def test_an_argument_that_is_given_twice_is_told(suite):
    """By its place and by its name."""
    result = suite("""
    @pytest.mark.no_leaks(5, calls=5)
    def test_it(): pass
    """)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_it.py::test_it: no_leaks: calls given twice; *"])


def test_a_worker_of_xdist_fails_the_test_whose_marker_is_not_understood(suite):
    """A worker that refuses what it has collected would end the session in an internal error."""
    pytest.importorskip("xdist")
    code = """
    @pytest.mark.no_leaks(cals=10)
    def test_wrong(): pass

    @pytest.mark.no_leaks
    def test_right(): pass
    """
    result = suite(code, "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*test_it.py::test_wrong: no_leaks: there is no cals; *"])


def test_each_attempt_of_a_test_that_is_rerun_is_judged_for_itself(suite):
    """The second is clean: it is not blamed for what the first one left."""
    pytest.importorskip("pytest_rerunfailures")
    code = """
    def test_flaky():
        if not KEPT:
            leak()
    """
    result = suite(code, "--check-leaks", "-p", "pytest_rerunfailures", "--reruns", "1")
    result.assert_outcomes(passed=1)
    assert "1 rerun" in result.stdout.str()


UNITTEST = """
    import unittest

    class TestIt(unittest.TestCase):
        def tearDown(self):
            if hasattr(self, "handle"):
                self.handle.close()

        def test_leaky(self):
            leak()

        @pytest.mark.no_leaks(None, {"thread": 1})
        def test_tidy(self):
            self.handle = open(os.devnull)

        def test_fails(self):
            leak()
            self.fail()

    class TestAsync(unittest.IsolatedAsyncioTestCase):
        async def test_leaky(self):
            leak()

    def documented():
        ">>> leak()"
"""


def test_what_is_no_test_function_is_judged_as_well(suite):
    """Methods of a TestCase and doctests: by what is open after their teardown."""
    result = suite(UNITTEST, "--check-leaks", "--doctest-modules")
    result.assert_outcomes(passed=4, failed=1, errors=3)
    result.stdout.fnmatch_lines(
        [
            "ERROR test_it.py::test_it.documented - *",
            "ERROR test_it.py::TestIt::test_leaky - *",
            "ERROR test_it.py::TestAsync::test_leaky - *",
        ],
        consecutive=False,
    )


def test_rounds_of_a_method_of_a_test_case_are_refused(suite):
    """It cannot be called again, and would not be judged by its growth."""
    result = suite("""
    import unittest

    class TestIt(unittest.TestCase):
        @pytest.mark.no_leaks(calls=10)
        def test_it(self): pass
    """)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*TestIt::test_it: no_leaks: calls= is for test functions only*"])


def test_a_block_in_a_block_leaves_the_outer_ones_baseline(suite):
    """What the outer one has opened before the inner one is its leak all the same."""
    result = suite("""
    def test_nested(leaks):
        with leaks:
            leak()
            with leaks:
                pass
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the block leaks 1 file"])


def test_the_thread_of_a_timeout_is_not_the_tests(suite):
    """pytest-timeout may start one for each test, and ends it later."""
    pytest.importorskip("pytest_timeout")
    options = "-p", "pytest_timeout", "--timeout", "60", "--timeout-method", "thread"
    code = """
    def test_clean(): pass

    @pytest.mark.timeout(60, func_only=True)
    def test_clean_too(): pass
    """
    suite(code, "--check-leaks", *options).assert_outcomes(passed=2)


def test_memory_is_told_in_bytes():
    """Not by a number of memories."""
    leak = Leak("memory", 80000776, 2e6, (), ())
    assert sentences("test_it", [leak], 40).startswith("test_it leaks 80,000,776 bytes of memory\n")


def test_a_test_may_ask_for_the_fixture_as_it_runs(suite):
    """It is watched from there on."""
    result = suite("""
    def test_it(request):
        leaks = request.getfixturevalue("leaks")
        leak()
        assert [each.kind for each in leaks.open()] == ["file"]
    """)
    result.assert_outcomes(passed=1)


def test_a_coroutine_function_checked_in_a_running_loop_is_told(suite):
    """The rounds need a loop of their own."""
    result = suite("""
    async def call(): pass

    def test_it(leaks):
        async def main():
            leaks.check(call)
        asyncio.run(main())
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *leaks.check() awaits a coroutine function in *(calls=…)"])


def test_garbage_is_collected_only_where_something_is_left_open(suite):
    """A collection for each test would take most of a suite's time."""
    result = suite(
        """
    import gc

    COLLECTED = []
    gc.callbacks.append(
        lambda phase, info: COLLECTED.append(phase) if info["generation"] == 2 else None
    )

    @pytest.mark.parametrize("number", range(20))
    def test_empty(number): pass

    def test_fixture(capsys): pass

    def test_at_last():
        assert len(COLLECTED) < 6
    """,
        "--check-leaks",
    )
    result.assert_outcomes(passed=22)


def test_a_tests_stand_ins_are_not_asked_what_is_open(suite):
    """They stand in for what the test's subject sees, and are there still as a task is judged."""
    result = suite(
        """
    import time

    def refuse(*_): raise NotImplementedError

    @pytest.fixture(scope="module", autouse=True)
    def patch():
        with pytest.MonkeyPatch.context() as patched:
            for name in ("listdir", "fstat", "readlink"):
                patched.setattr(os, name, refuse)
            patched.setattr(time, "sleep", refuse)
            yield

    def test_leaky():
        leak()

    def test_clean(): pass
    """,
        "--check-leaks",
        "-s",  # capturing looks at descriptors too
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["test_it.py::test_leaky leaks 1 file"])


def test_what_a_finalizer_closes_is_not_the_tests(suite):
    """`request.addfinalizer` is a teardown that no fixture's name tells of."""
    result = suite(
        """
    def test_closed(request):
        request.addfinalizer(open(os.devnull).close)

    def test_left(request):
        request.addfinalizer(leak)

    def test_judged_at_once(tmp_path):
        leak()
    """,
        "--check-leaks",
    )
    result.assert_outcomes(passed=2, errors=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_judged*", "ERROR test_it.py::test_left*"])


def test_what_a_conftests_hook_closes_is_not_the_tests(suite, pytester):
    """It runs at the teardown, of tests without fixtures too."""
    pytester.makeconftest("""
    def pytest_runtest_teardown(item):
        for each in item.module.KEPT[1:]:
            each.close()
    """)
    result = suite(
        """
    def test_closed():
        KEPT[:] = None, open(os.devnull)

    def test_left():
        KEPT[:] = open(os.devnull),
    """,
        "--check-leaks",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["ERROR test_it.py::test_left*"])


def test_a_test_whose_subtest_failed_is_not_blamed_for_leaking_too(suite):
    """Its failed subtest may be why; one whose subtests passed is judged."""
    code = """
    import unittest

    class TestIt(unittest.TestCase):
        def test_fails(self):
            with self.subTest():
                leak()
                self.fail()
            with self.subTest():
                pass

        def test_leaks(self):
            with self.subTest():
                leak()
    """
    result = suite(code, "--check-leaks")
    outcomes = result.parseoutcomes()
    assert outcomes.get("errors", outcomes.get("error")) == 1, outcomes
    result.stdout.fnmatch_lines(["ERROR test_it.py::TestIt::test_leaks - *"])


LOGGED = """
    import logging

    def log_failure():
        handle = open(os.devnull)
        try:
            raise ValueError
        except ValueError:
            logging.exception("failed")
"""


def test_what_only_pytests_record_of_a_logged_error_holds_is_no_leak(suite):
    """Its traceback holds what was open there, until pytest drops it; caplog's is left to read."""
    code = """
    def test_logged():
        log_failure()

    @pytest.fixture
    def noisy():
        yield
        log_failure()

    def test_logged_at_teardown(noisy, caplog):
        pass

    def test_logged_in_a_block(leaks):
        with leaks:
            log_failure()

    def test_read_after_a_block(leaks, caplog):
        with leaks:
            logging.warning("told")
        assert caplog.messages == ["told"]

    def test_leaky():
        logging.warning("told")
        leak()
    """
    result = suite(LOGGED + code, "--check-leaks")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["*::test_leaky leaks 1 file", "WARNING *told"])


def test_what_pytest_keeps_of_the_log_is_not_what_grows_in_rounds(suite):
    """Each call has a log of its own, in caplog too."""
    code = """
    @pytest.mark.no_leaks(calls=10)
    def test_logs():
        log_failure()

    @pytest.mark.no_leaks(calls=10)
    def test_reads(caplog):
        log_failure()
        assert caplog.messages == ["failed"]

    def test_checked(leaks):
        assert leaks.check(log_failure, calls=10).verdict == "clean"
    """
    suite(LOGGED + code).assert_outcomes(passed=3)


def test_tests_on_a_fake_file_system_are_judged_as_others(suite):
    """pyfakefs puts its fakes where a function was imported by name too: the tracker's `fstat`."""
    code = """
    import socket
    import harness.tracking.descriptors

    def refuse(number):
        raise AssertionError

    @pytest.fixture
    def fs(monkeypatch):
        monkeypatch.setattr(harness.tracking.descriptors, "fstat", refuse)

    def test_clean(fs):
        os.close(os.dup(1))

    def test_leaky(fs):
        KEPT.append(socket.socket())
    """
    result = suite(code, "--check-leaks")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*::test_leaky leaks 1 socket", "*opened at test_it.py:*"])


ASYNC_ROUNDS = """
    @pytest.mark.no_leaks(calls=10)
    async def test_leaky(tmp_path):
        leak()

    @pytest.mark.no_leaks(calls=10)
    async def test_clean():
        await asyncio.sleep(0)
"""


def test_rounds_of_a_coroutine_function_are_run_by_the_plugin_that_runs_it(suite, pytester):
    """As anyio's does: calling it gives only a coroutine."""
    pytester.makeconftest("""
    import asyncio, inspect, pytest

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(pyfuncitem):
        if inspect.iscoroutinefunction(pyfuncitem.obj):
            names = pyfuncitem._fixtureinfo.argnames
            asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
            return True
    """)
    result = suite(ASYNC_ROUNDS)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_leaky leaks 40 files"])


def test_what_cannot_be_called_in_rounds_is_said_in_one_sentence(suite):
    """Not by a traceback of the plugin's own."""
    result = suite(
        """
    def deferred(function):
        def call(): return (each for each in ())
        return call

    @pytest.mark.no_leaks(calls=10)
    @deferred
    def test_deferred(): pass
    """,
        "-W",
        "ignore::pytest.PytestReturnNotNoneWarning",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["test_it.py::test_deferred: no_leaks(calls=…): it returned a generator*"]
    )
