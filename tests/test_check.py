"""Examples of `harness check`: the misuses that the labs are about, and what it does with others.

The misuses are judged in this process, which is quick; the command line by real child processes.
"""

import gc
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from harness.check import as_text
from harness.errors import UsageError
from harness.findings import Plan
from harness.patience import Patience
from harness.rounds import LAST_PAUSES_S, Sight, check
from harness.target import load
from harness.tracker import Tracker
from harness.verdict_growth import Trend, judge_coarsely, judge_growth

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("counts", "trend"),
    [
        ((0, 10, 20, 30, 40), Trend.GROWING),
        ((3, 4, 5, 6, 7), Trend.GROWING),
        ((5, 5, 5, 5, 5), Trend.STABLE),
        ((0, 10, 13, 13, 13), Trend.STABLE),
        ((9, 5, 9, 5, 9), Trend.STABLE),
        ((0, 8, 12, 14, 15), Trend.UNCLEAR),
        ((0, 1, 1, 2, 2), Trend.UNCLEAR),
        ((0, 12, 0, 12, 0), Trend.STABLE),
        ((0, 1), Trend.UNCLEAR),
    ],
)
def test_a_leak_is_what_grows_in_every_round(counts, trend):
    """Plateaus and saw-teeth are stable; what slows down or misses a round needs more rounds."""
    assert judge_growth(counts, 10).trend is trend


@pytest.mark.parametrize(
    ("counts", "trend"),
    [
        ((0, 1, 1, 2, 3, 3, 4, 5, 6), Trend.GROWING),
        ((0, 8, 12, 14, 15, 15, 15, 15, 15), Trend.STABLE),
        ((9, 5, 9, 5, 9, 5, 9, 5, 9), Trend.STABLE),
    ],
)
def test_twice_the_rounds_decide(counts, trend):
    """Two rounds as one: a rare leak grows in each pair, a filling pool does not."""
    assert judge_coarsely(counts, 10).trend is trend


def test_growth_per_call_is_over_all_calls():
    """40 more after 4 rounds of 10 calls is one for each."""
    assert judge_growth((2, 12, 22, 32, 42), 10).per_call == 1.0
    assert judge_coarsely((0, 10, 20, 30, 40, 50, 60, 70, 80), 10).per_call == 1.0


BATCH = (
    """
KEPT = []
def leaky(): KEPT.append(open("/dev/null"))  # here
def fixed():
    with open("/dev/null") as handle: handle.read()
""",
    {"file"},
    "KEPT (list,",
)

HTTP = (
    """
import threading, http.server, httpx
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(503); self.send_header("Content-Length", "4"); self.end_headers()
        self.wfile.write(b"busy")
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
client, url = httpx.Client(), f"http://127.0.0.1:{server.server_port}"
def leaky():
    response = client.send(client.build_request("GET", url), stream=True)  # here
    if response.is_error: return None
    response.close()
def fixed():
    with client.stream("GET", url) as response:
        if response.is_error: return None
def clean(): client.close(); server.shutdown(); server.server_close()
""",
    {"socket"},
    "client → Client._transport → HTTPTransport._pool → ConnectionPool",
)

MKSTEMP = (
    """
import os, tempfile
def leaky():
    number, path = tempfile.mkstemp()  # here
    os.unlink(path)
def fixed():
    with tempfile.TemporaryFile(): pass
""",
    {"fd"},
    "nobody: a plain number",
)

ERROR_PATH = (
    """
BY_ID = {}
def leaky(guarded=False):
    number = len(BY_ID)
    if guarded: raise ValueError(number)
    BY_ID[number] = open("/dev/null")  # here
def fixed():
    try: leaky(guarded=True)
    except ValueError: pass
""",
    {"file"},
    "BY_ID (dict,",
)

TRACEBACK = (
    """
FAILURES = []
def parse():
    handle = open("/dev/null")  # here
    raise ValueError(handle.name)
def leaky():
    try: parse()
    except ValueError as error: FAILURES.append(error)
def fixed():
    try: parse()
    except ValueError as error: FAILURES.append(str(error)); FAILURES.clear()
""",
    {"file"},
    "ValueError.__traceback__ → parse() at",
)

CLOSE_ERROR = (
    """
import os
UNFINISHED = []
def pair():
    reader, writer = os.pipe()
    os.close(reader)
    journal, subscriber = open("/dev/null"), os.fdopen(writer, "w")  # here
    subscriber.write("a line that nobody will read")
    UNFINISHED.append(journal)
    return journal, subscriber
def leaky():
    journal, subscriber = pair()
    try:
        subscriber.close()
        journal.close()
    except BrokenPipeError: return
    UNFINISHED.remove(journal)
def fixed():
    journal, subscriber = pair()
    try:
        with journal: subscriber.close()
    except BrokenPipeError: UNFINISHED.remove(journal)
""",
    {"file"},
    "UNFINISHED (list,",
)

GENERATOR = (
    """
import contextlib
PEEKED = []
def lines():
    with open(__file__) as handle:  # here
        yield from handle
def leaky(): PEEKED.append(lines()); next(PEEKED[-1])
def fixed():
    with contextlib.closing(lines()) as found: next(found)
""",
    {"file"},
    "PEEKED (list,",
)

LOGGING = (
    """
import itertools, logging
JOBS = itertools.count()
def start(name):
    handler = logging.FileHandler("/dev/null")  # here
    logger = logging.getLogger(name); logger.addHandler(handler)
    return logger, handler
def leaky(): start(f"job-{next(JOBS)}")
def fixed():
    logger, handler = start("job")
    logger.removeHandler(handler); handler.close()
""",
    {"file"},
    "logging.root.manager.loggerDict (dict,",
)

CACHE = (
    """
import functools
class Report:
    def __init__(self): self.handle = open("/dev/null")  # here
    @functools.lru_cache(maxsize=None)
    def load(self): return 1
    def plain(self): return 1
def leaky(): Report().load()
def fixed(): Report().plain()
""",
    {"file"},
    "Report.load (lru_cache,",
)

CALLBACK = (
    """
class Bus: handlers = []
class Report:
    def __init__(self): self.handle = open("/dev/null")  # here
    def on_event(self): pass
def leaky(): Bus.handlers.append(Report().on_event)
def fixed(): Bus.handlers.append(Report().on_event); Bus.handlers.clear()
""",
    {"file"},
    "Bus.handlers (list,",
)

SUBPROCESS = (
    """
import subprocess
STARTED = []
def leaky(): STARTED.append(subprocess.Popen(["true"], stdout=subprocess.PIPE))  # here
def fixed():
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process: process.communicate()
def clean():
    for process in STARTED: process.communicate()
""",
    {"process", "pipe"},
    "STARTED (list,",
)

QUEUE = (
    """
import queue, threading
JOBS = queue.Queue()
def work():
    with open("/dev/null") as handle:  # here
        JOBS.get()
def leaky(): threading.Thread(target=work, daemon=True).start()
def fixed(): JOBS.put(None); worker = threading.Thread(target=work); worker.start(); worker.join()
def clean():
    for _ in range(100): JOBS.put(None)
""",
    {"file", "thread"},
    "in work() at",
)

STUCK = (
    """
import socket, threading
ENDS = []
def wait(ours):
    ours.recv(1)
def leaky():
    ours, theirs = socket.socketpair()  # here
    ENDS.append(theirs)
    threading.Thread(target=wait, args=(ours,), daemon=True).start()
def fixed():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.001)
        try: wait(ours)
        except TimeoutError: pass
def clean():
    for end in ENDS: end.close()
""",
    {"socket", "thread"},
    "wait() at",
)

AIOHTTP = (
    """
import aiohttp, aiohttp.web
RUNNING, FAILED = [], []
async def start():
    async def busy(request): return aiohttp.web.Response(status=503, text="x" * 1_000_000)
    app = aiohttp.web.Application(); app.router.add_get("/", busy)
    runner = aiohttp.web.AppRunner(app); await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0); await site.start()
    RUNNING.append(f"http://127.0.0.1:{runner.addresses[0][1]}/")
async def leaky():
    if not RUNNING: await start()
    session = aiohttp.ClientSession()
    FAILED.append(await session.get(RUNNING[0]))  # here
async def fixed():
    RUNNING.clear()
    async with aiohttp.ClientSession() as session: pass
def clean():
    for response in FAILED: response.close()  # else it closes itself, and its loop has ended
""",
    {"socket"},
    "FAILED (list,",
)

SQLITE = (
    """
import contextlib, sqlite3
KEPT = []
def leaky():
    with sqlite3.connect(__file__ + ".db") as connection:  # here
        KEPT.append(connection)
def fixed():
    with contextlib.closing(sqlite3.connect(__file__ + ".db")) as kept: kept.total_changes
""",
    {"sqlite3"},
    "KEPT (list,",
)

EXECUTOR = (
    """
from concurrent.futures import ThreadPoolExecutor
KEPT = []
def leaky(): KEPT.append(ThreadPoolExecutor(1)); KEPT[-1].submit(int).result()  # here
def fixed():
    with ThreadPoolExecutor(1) as executor: executor.submit(int).result()
def clean():
    for executor in KEPT: executor.shutdown()
""",
    {"executor", "thread"},
    "KEPT (list,",
)

TASK = (
    """
import asyncio, socket
SESSIONS = set()
async def session():
    ours, theirs = socket.socketpair()  # here
    with ours, theirs: await asyncio.sleep(1000)
async def leaky():
    SESSIONS.add(asyncio.create_task(session())); await asyncio.sleep(0)
async def fixed():
    task = asyncio.create_task(session()); await asyncio.sleep(0)
    task.cancel(); await asyncio.wait([task])
""",
    {"socket", "task"},
    "SESSIONS (set,",
)

MISUSES = {
    "file_leak": BATCH,
    "http_leak": HTTP,
    "mkstemp_fd": MKSTEMP,
    "error_path": ERROR_PATH,
    "traceback_frames": TRACEBACK,
    "close_error": CLOSE_ERROR,
    "generator_peek": GENERATOR,
    "logging_handlers": LOGGING,
    "cache": CACHE,
    "callback": CALLBACK,
    "subprocess_pipes": SUBPROCESS,
    "queue_blocked": QUEUE,
    "stuck_read": STUCK,
    "aiohttp_leak": AIOHTTP,
    "sqlite": SQLITE,
    "executor_registry": EXECUTOR,
    "task_socket": TASK,
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module and give what loads a function of it; it is cleaned up after the test."""
    names = []

    def write(name: str, source: str):
        path = tmp_path / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        names.append(name)
        return lambda function: load(f"{path}:{function}")

    monkeypatch.setattr(sys, "path", list(sys.path))
    gc.collect()
    gc.freeze()  # this process has much that no check needs to go through again and again
    yield write
    gc.unfreeze()
    for name in names:
        getattr(sys.modules.pop(name), "clean", lambda: None)()


@pytest.mark.parametrize("name", MISUSES)
def test_each_misuse_is_named_with_kind_line_and_holder_and_its_fix_is_clean(name, module):
    """The leak's kinds, the line marked in the source, who holds it; nothing on the fix."""
    source, kinds, holder = MISUSES[name]
    unjudged = {"memory"} if name == "http_leak" else set()  # its server's threads run beside it
    function = module(f"misuse_{name}", source)
    here = next(number for number, line in enumerate(source.splitlines(), 1) if "# here" in line)
    fixed = check(function("fixed"), Plan(calls=10, rounds=3))
    assert [leak for leak in fixed.leaks if leak.kind not in unjudged] == []
    leaky = check(function("leaky"), Plan(calls=10, rounds=3))
    assert leaky.verdict == "leak"
    assert kinds <= {leak.kind for leak in leaky.leaks}
    assert here in {leak.opened_at[0][1] for leak in leaky.leaks if leak.opened_at}
    assert holder in "\n".join(line for leak in leaky.leaks for line in leak.held_by)


FILE_TWIN = """
import itertools, pathlib, tempfile
from VARIANT.file_leak import LogAggregator
FOLDER = tempfile.TemporaryDirectory()
AGGREGATOR, BATCHES = LogAggregator(pathlib.Path(FOLDER.name)), itertools.count()
def target(): AGGREGATOR.store(next(BATCHES), "x")
"""

HTTP_TWIN = """
import asyncio
from VARIANT.http_leak import Gateway, UpstreamError
GATEWAYS = []
async def busy(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            writer.write(b"HTTP/1.1 503 Busy\\r\\nContent-Length: 4\\r\\n\\r\\nbusy")
    except (asyncio.IncompleteReadError, ConnectionError): writer.close()
async def target():
    if not GATEWAYS:
        server = await asyncio.start_server(busy, "127.0.0.1", 0)
        GATEWAYS.append(Gateway(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    try: await GATEWAYS[0].fetch("/")
    except UpstreamError: pass
"""


@pytest.mark.parametrize(
    ("source", "kind", "lab", "call", "holder"),
    [
        (FILE_TWIN, "file", "file_leak", "open(", "LogAggregator._recent (list,"),
        (
            HTTP_TWIN,
            "socket",
            "http_leak",
            "_client.send(",
            "Gateway._client → AsyncClient._transport",
        ),
    ],
)
def test_both_twins_are_told_apart(source, kind, lab, call, holder, module):
    """The leaky one by kind, line and holder; nothing on the fixed one."""
    fixed = module(f"fixed_{lab}", source.replace("VARIANT", "fixed"))("target")
    still = check(fixed, Plan(calls=10, rounds=3)).leaks
    # The server that the gateway calls runs in this process, and its memory is in the picture.
    assert {leak.kind for leak in still} <= ({"memory"} if lab == "http_leak" else set())
    leaky = module(f"leaky_{lab}", source.replace("VARIANT", "leaky"))("target")
    leaks = [leak for leak in check(leaky, Plan(calls=10, rounds=3)).leaks if leak.kind == kind]
    named = [
        leak for leak in leaks if leak.opened_at and leak.opened_at[0][0].endswith(f"{lab}.py")
    ]
    file, line, _ = named[0].opened_at[0]
    assert Path(file) == ROOT / "leaky" / f"{lab}.py"
    assert call in Path(file).read_text(encoding="utf-8").splitlines()[line - 1]
    assert holder in "\n".join(named[0].held_by)


@pytest.mark.parametrize("opens", ["select.epoll()", "os.scandir('.')"])
def test_an_object_that_cannot_be_traced_is_not_called_a_number(opens, module):
    """It takes no weak reference, and the garbage collector does not know it: so it is said."""
    source = f"import os, select\nKEPT = []\ndef target(): KEPT.append({opens})\n"
    (leak,) = check(module("untraced", source)("target"), Plan(calls=10)).leaks
    assert leak.held_by == ("an object that cannot be traced: nothing found refers to it",)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_an_event_loop_accepts_was_not_opened_outside(module):
    """No line of the target's accepts the connection: the library's own is named."""
    source = """
import asyncio
KEPT = []
async def target():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    KEPT.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
    server.close()
"""
    leaks = check(module("accepts", source)("target"), Plan(calls=10)).leaks
    assert {leak.kind for leak in leaks} == {"socket"}
    assert all(leak.opened_at for leak in leaks)


def test_one_in_ten_calls_is_found(module):
    """The rate is part of the verdict."""
    source = """
        KEPT, calls = [], [0]
        def target():
            calls[0] += 1
            if calls[0] % 10 == 0: KEPT.append(open("/dev/null"))
    """
    result = check(module("rarely", textwrap.dedent(source))("target"), Plan(calls=10))
    assert (result.verdict, result.leaks[0].growth_per_call) == ("leak", 0.1)


def test_a_pool_that_fills_is_clean(module):
    """It grows for two rounds and then no more."""
    source = """
        POOL = []
        def target():
            if len(POOL) < 27: POOL.append(open("/dev/null"))
    """
    found = check(module("pool", textwrap.dedent(source))("target"), Plan(calls=10))
    assert (found.verdict, found.more) == ("clean", {"file": 22})
    said = as_text("pool", found)
    assert "no steady growth" in said and "nothing grew" not in said
    assert "22 files more than before" in said


def test_what_a_collection_takes_back_is_clean_and_said(module):
    """A saw-tooth: the cycle is closed by the garbage collector, late."""
    source = """
        class Node: pass
        def target():
            node = Node(); node.me = node; node.handle = open("/dev/null")
    """
    result = check(module("late", textwrap.dedent(source))("target"), Plan(calls=10))
    assert result.verdict == "clean"
    assert result.late["file"] > 0


@pytest.mark.parametrize(
    ("kind", "at_once", "verdict"),
    [
        ("thread", 100, "clean"),
        ("task", 100, "clean"),
        ("thread", 20, "clean"),  # a few at each look, as on a busy machine
        ("thread", 0, "leak"),
        ("file", 100, "leak"),  # nobody closes it later
    ],
)
def test_threads_and_tasks_have_all_their_time_to_end(kind, at_once, verdict, monkeypatch):
    """Though at the first looks none of them has ended yet."""
    alive = []

    async def rest(pause_s):
        if pause_s == LAST_PAUSES_S[-1]:
            del alive[:at_once]

    monkeypatch.setattr("harness.rounds._sleep", rest)
    with Tracker() as tracker:
        sight = Sight(tracker, {kind: lambda: len(alive)})
        found = check(lambda: alive.append(1), Plan(calls=10, memory=False), sight)
    assert found.verdict == verdict


def test_memory_is_a_resource_of_its_own(module):
    """No descriptor, no thread: blocks that nobody frees, by the line that allocates them."""
    source = """
        KEPT = []
        def target(): KEPT.append([1, 2, 3] * 10)
        def bounded(): KEPT[:] = [[1, 2, 3] * 10]
    """
    function = module("memory", textwrap.dedent(source))
    (leak,) = check(function("target"), Plan(calls=20)).leaks
    assert (leak.kind, leak.opened_at[0][1:]) == ("memory", (3, "target"))
    assert leak.growth_per_call > 200
    assert leak.held_by[0].startswith("memory.KEPT (list,")
    assert check(function("bounded"), Plan(calls=20)).verdict == "clean"


@pytest.mark.parametrize(
    ("made", "holder"),
    [
        ("bytes(1_000_000)", "bytes"),  # the C library's, and no block of Python's own
        ("'x' * (1000 + len(KEPT))", "str"),
    ],
)
def test_a_slow_function_that_keeps_one_large_thing_each_time_leaks(made, holder, module):
    """What the first calls leave for good is more than that, and hides nothing."""
    source = f"""
        import time
        KEPT = []
        def target(): time.sleep(0.006); KEPT.append({made})
    """
    (leak,) = check(module("slow", textwrap.dedent(source))("target"), Plan()).leaks
    assert (leak.kind, leak.opened_at[0][2]) == ("memory", "target")
    assert leak.held_by[0].startswith("slow.KEPT (list, ")
    assert f" → {holder}" in leak.held_by[0]


@pytest.mark.parametrize("room", [512, 1000])
def test_a_large_cache_that_fills_is_clean(room, module):
    """It is called on until it is full: then it grows no more."""
    source = f"""
        import collections, functools, itertools
        NUMBERS, RING = itertools.count(), collections.deque(maxlen={room})
        @functools.lru_cache(maxsize={room})
        def row(number): return [number] * 10
        def cached(): row(next(NUMBERS))
        def ring(): RING.append("x" * 90 + str(next(NUMBERS)))
    """
    functions = module("filling", textwrap.dedent(source))
    for name in ("cached", "ring"):
        assert check(functions(name), Plan()).verdict == "clean"


def test_a_cache_that_fills_is_clean_on_a_machine_that_stood_still(module):
    """The moment for which it is called on is one in which it could be called."""
    source = """
        import functools, itertools, time
        NUMBERS = itertools.count()
        @functools.lru_cache(maxsize=1000)
        def row(number): return [number] * 10
        def target():
            number = next(NUMBERS)
            if number == 310: time.sleep(0.5)
            row(number)
    """
    assert check(module("still", textwrap.dedent(source))("target"), Plan()).verdict == "clean"


def test_two_calls_that_took_long_do_not_make_the_rounds_short(module):
    """One may import what the others use, or find the machine busy."""
    source = """
        import itertools, time
        NUMBERS = itertools.count()
        def target():
            if next(NUMBERS) in (0, 3): time.sleep(0.05)
    """
    assert check(module("slow_start", textwrap.dedent(source))("target"), Plan()).calls == 100


def test_timers_that_were_cancelled_are_forgotten_by_a_loop_that_turns(module):
    """A coroutine that never waits lets no loop turn; between two calls it does."""
    source = """
        import asyncio
        async def target():
            async with asyncio.timeout(60): pass
    """
    assert check(module("timers", textwrap.dedent(source))("target"), Plan()).leaks == ()


@pytest.mark.parametrize("pause_s", [0, 0.006])
def test_a_full_cache_is_clean(pause_s, module):
    """What comes in replaces what was there: the trace sees only the former."""
    source = f"""
        import functools, itertools, time
        NUMBERS = itertools.count()
        @functools.lru_cache(maxsize=50)
        def user(number): return {{"id": number, "name": f"u{{number}}"}}
        def target(): time.sleep({pause_s}); user(next(NUMBERS))
    """
    result = check(module("cache", textwrap.dedent(source))("target"), Plan())
    assert (result.verdict, result.leaks) == ("clean", ())


def test_a_pool_that_its_own_leak_has_used_up_is_judged(module):
    """The error says that nothing is left; what has piled up says why."""
    source = """
        KEPT = []
        def target():
            if len(KEPT) == 30: raise TimeoutError("no connection left")
            KEPT.append(open("/dev/null"))
    """
    result = check(module("pool", textwrap.dedent(source))("target"), Plan())
    (leak,) = result.leaks
    assert (leak.kind, leak.opened_at[0][1]) == ("file", 5)
    assert "\nthen a call failed: TimeoutError: no connection left\n" in as_text("pool", result)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_generator_is_told_to_be_gone_through(kind, module):
    """Its body would never run."""
    source = f"{kind} target():\n    yield open('/dev/null')\n"
    with pytest.raises(UsageError, match="returned a generator"):
        check(module("generator", source)("target"), Plan())


def test_bytes_that_only_a_frozen_object_holds_have_a_line_and_a_holder(program):
    """As the command judges them: what was imported is frozen, and bytes are in no generation."""
    source = """
class Service:
    def __init__(self): self.seen = []
    def handle(self):
        self.seen.append(bytearray(5000))
SERVICE = Service()
def target(): SERVICE.handle()
"""
    (program / "service.py").write_text(source, encoding="utf-8")
    done = run_check("service.py:target", "--calls", "20", cwd=program)
    assert "allocated at service.py:5 in Service.handle" in done.stdout
    assert "called from service.py:7 in target" in done.stdout
    assert "held by service.SERVICE → Service.seen (list, " in done.stdout


def test_a_function_that_returns_a_coroutine_is_told_to_be_async(module):
    """Its rounds would await nothing."""
    source = "async def inner(): pass\ndef target(): return inner()\n"
    with pytest.raises(UsageError, match="declare it with async def"):
        check(module("undeclared", source)("target"), Plan(calls=10))


def run_check(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess:
    """Run the command in a folder, as `python -m harness check` does."""
    code = "import sys; from harness.check import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **more}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )


PROGRAM = """
import os, sys, time
KEPT = []
def leaky():
    print("noise")
    KEPT.append(open("/dev/null"))
def fixed():
    with open("/dev/null"): pass
def burst():
    files = [open("/dev/null") for _ in range(60)]
    for each in files: each.close()
def boom(): raise ValueError("no such job")
def slow(): time.sleep(60)
def gone(): os._exit(7)
def wants(argument): pass
"""


@pytest.fixture
def program(tmp_path):
    """A folder with a package `app` that holds `jobs.py`."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").touch()
    (tmp_path / "app" / "jobs.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


def test_the_verdict_on_a_leak_in_words_json_and_status(program):
    """Evidence first, then what to do; the JSON has these keys and no others."""
    done = run_check("app/jobs.py:leaky", "--calls", "10", "--json", "out.json", cwd=program)
    assert done.returncode == 1, done.stderr
    assert "noise" not in done.stdout
    assert "detected 40 unclosed files after 40 calls (1 per call), opened at" in done.stdout
    assert "held by app.jobs.KEPT (list, 45 items) → TextIOWrapper (1 of 45 alike)" in done.stdout
    document = json.loads((program / "out.json").read_text(encoding="utf-8"))
    (leak,) = document.pop("leaks")
    assert document == {"verdict": "leak", "calls": 40}
    assert leak == {
        "kind": "file",
        "count": 40,
        "growth_per_call": 1.0,
        "opened_at": [{"file": str(program / "app/jobs.py"), "line": 6, "function": "leaky"}],
        "held_by": ["app.jobs.KEPT (list, 45 items) → TextIOWrapper (1 of 45 alike)"],
    }


def test_the_verdict_on_the_fix(program):
    """A module's name does as well as a path."""
    done = run_check("app.jobs:fixed", "--json", "out.json", cwd=program)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("✓ No leak! app.jobs:fixed: nothing grew over 4 rounds")
    document = json.loads((program / "out.json").read_text(encoding="utf-8"))
    assert (document["verdict"], document["leaks"]) == ("clean", [])


def test_a_file_with_the_name_of_a_module_that_is_there_is_the_one_that_was_asked_for(program):
    """`resource` is the standard library's, and this instrument's."""
    (program / "resource.py").write_text(PROGRAM, encoding="utf-8")
    done = run_check("resource.py:leaky", "--calls", "10", cwd=program)
    assert done.returncode == 1, done.stderr
    assert "opened at resource.py:6" in done.stdout


@pytest.mark.parametrize(("function", "status"), [("leaky", 1), ("fixed", 0)])
def test_a_file_whose_name_has_a_dot_is_judged(function, status, program):
    """No module can have that name; the line is named all the same."""
    (program / "jobs.v2.py").write_text(PROGRAM, encoding="utf-8")
    done = run_check(f"jobs.v2.py:{function}", "--calls", "10", cwd=program)
    assert done.returncode == status, done.stderr
    assert ("opened at jobs.v2.py:6" in done.stdout) is bool(status)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("app.jobs:boom", "app.jobs:boom raised ValueError: no such job at"),
        ("app.jobs:slow", "no verdict within 1 s"),
        ("app.jobs:gone", "the process ended with status 7"),
        ("app.jobs:wants", "cannot be called without arguments"),
        ("sys:exit", "sys:exit raised SystemExit\n"),
        ("app.jobs:nothing", "has no callable 'nothing'"),
        ("app.nothing:leaky", "could not be imported: ModuleNotFoundError"),
        ("app/nothing.py:leaky", "no such file"),
        ("app.jobs", "names no function"),
    ],
)
def test_what_cannot_be_judged_is_said_in_one_line(target, said, program):
    """Exit status 2, the reason, and no traceback."""
    done = run_check(target, "--timeout", "1" if "slow" in target else "30", cwd=program)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("harness check: could not judge: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_running_out_of_descriptors_is_a_leak_not_an_error(program):
    """With a low limit the leak ends the run early, and is judged by what is open then."""
    done = run_check("app.jobs:leaky", "--calls", "50", "--limit", "64", cwd=program)
    assert done.returncode == 1, done.stderr
    said = re.search(r"detected (\d+) unclosed files after (\d+) calls \(1 per call\)", done.stdout)
    assert said
    assert said[1] == said[2]


@pytest.mark.parametrize(("target", "limit"), [("fixed", "1"), ("burst", "40")])
def test_a_limit_too_low_for_one_call_is_no_verdict(target, limit, program):
    """Nothing could be opened, or more at a time than allowed: neither clean nor a leak."""
    done = run_check(f"app.jobs:{target}", "--limit", limit, cwd=program)
    assert done.returncode == 2
    assert "Too many open files" in done.stderr
    assert "too low for one call" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--calls", "many", "many is not a whole number from 1"),
        ("--rounds", "0", "0 is not a whole number from 1"),
        ("--limit", "2000000000", "2000000000 is above the hard limit of"),
        ("--timeout", "nan", "nan is not a number from 0.1"),
    ],
)
def test_a_nonsense_value_is_told_in_one_line(option, value, said, program):
    """With the option, its value and the status of what could not be done."""
    done = run_check("app.jobs:fixed", option, value, cwd=program)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"argument {option}: {said}" in done.stderr


def test_a_terminal_without_unicode_gets_ascii(program):
    """Marks become words, not question marks."""
    done = run_check("app.jobs:fixed", cwd=program, PYTHONIOENCODING="ascii")
    assert done.stdout.startswith("[ok] No leak! app.jobs:fixed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_check_and_its_child(number, program):
    """No traceback, the shell's status, and nothing left running or in the temporary folder."""
    (program / "app" / "jobs.py").write_text(
        "import os, pathlib, time\n"
        "def slow():\n"
        "    pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n",
        encoding="utf-8",
    )
    (program / "tmp").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(program / "tmp")}
    command = [sys.executable, "-m", "harness", "check", "app.jobs:slow"]
    check_of = subprocess.Popen(
        command, cwd=program, env=environment, stderr=subprocess.PIPE, text=True
    )
    written = program / "pid"
    while not (written.exists() and written.read_text(encoding="utf-8")):
        assert check_of.poll() is None
        time.sleep(0.01)
    check_of.send_signal(number)
    _, said = check_of.communicate(timeout=30)
    assert (check_of.returncode, said) == (128 + number, "")
    assert not psutil.pid_exists(int(written.read_text(encoding="utf-8")))
    assert list((program / "tmp").iterdir()) == []


def test_a_full_disk_below_the_output_is_one_line(program):
    """The verdict could not be written, so there is none."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = [sys.executable, "-m", "harness", "check", "app.jobs:fixed"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=program, env=environment, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("harness check: error: cannot write the output: No space left")
    assert done.stderr.count("\n") == 1


def test_nothing_of_the_child_is_left(program):
    """What the target started ends with the check: processes too."""
    own = f"sleep 1234.{os.getpid()}"
    source = f"import subprocess\ndef target(): subprocess.Popen({own.split()})\n"
    (program / "starts.py").write_text(source, encoding="utf-8")
    assert run_check("starts.py:target", "--calls", "10", cwd=program).returncode == 1

    def listed():
        return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout

    assert Patience(10).until(lambda: own not in listed())  # killed, each ends when it has its turn
