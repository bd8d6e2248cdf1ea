"""The count of descriptors agrees with the operating system, and leaves out its own."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from harness.limits import limited
from harness.patience import Patience
from harness.probes import fds, memory

pytestmark = pytest.mark.usefixtures("collected")


def lsof_count(pid):
    """Return how many numbered descriptors lsof lists for `pid`."""
    if shutil.which("lsof") is None:
        pytest.skip("lsof is not installed")
    done = subprocess.run(
        ["lsof", "-a", "-p", str(pid), "-d", "0-99999", "-Ff"], capture_output=True, text=True
    )
    return sum(line.startswith("f") for line in done.stdout.splitlines())


def test_every_opened_file_counts_until_it_is_closed(tmp_path):
    """Plant, see, release, see silence."""
    before = fds.count()
    files = [(tmp_path / str(n)).open("w") for n in range(20)]
    assert fds.count() == before + 20
    for file in files:
        file.close()
    assert fds.count() == before


def test_files_are_counted_apart_from_sockets_pipes_and_devices(tmp_path):
    """Also where their numbers leave gaps, and with no descriptor left to list them through."""
    before = fds.files()
    files = [(tmp_path / str(n)).open("w") for n in range(5)]
    others = [socket.socket(), *(os.fdopen(end) for end in os.pipe())]
    others.append(Path(os.devnull).open())  # noqa: SIM115 - it is closed below
    files.pop(1).close()
    with limited(max(each.fileno() for each in files + others) + 2):
        taken = []
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(others[0].fileno()))
        assert fds.files() == before + 4
        for number in taken:
            os.close(number)
    for each in files + others:
        each.close()
    assert fds.files() == before


def test_the_count_is_that_of_the_system_itself(child):
    """The same as lsof and psutil see of another process."""
    count = fds.count(child.pid)
    assert count == lsof_count(child.pid)
    assert count == psutil.Process(child.pid).num_fds()


@pytest.fixture
def child():
    """A process that keeps five sockets besides stdin and stdout."""
    code = "import socket; kept = [socket.socket() for _ in range(5)]; print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        yield process
        process.stdin.close()


def test_asking_for_oneself_by_number_is_the_same():
    """The own pid is no other process."""
    assert fds.count(os.getpid()) == fds.count()


def test_a_process_that_is_gone_cannot_be_counted():
    """That is no zero."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert fds.count(process.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs a kernel with /proc")
def test_counting_works_with_no_descriptor_left():
    """At EMFILE nothing can be opened; the size of /proc/self/fd needs no opening."""
    if os.stat("/proc/self/fd").st_size == 0:
        pytest.skip("this kernel is older than 6.2")
    highest = max(number for number, _ in fds.targets())  # others below it may be free
    with limited(highest + 3):
        kept = []
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                kept.append(os.open(os.devnull, os.O_RDONLY))
        assert fds.count() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        for descriptor in kept:
            os.close(descriptor)


def test_a_thread_that_waits_in_accept_has_a_number_that_no_listing_shows():
    """From Linux 6.2 on, where the count is the kernel's own; README.md names it as a limit."""
    before = fds.count(), len(list(fds.targets()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        waiting = threading.Thread(target=server.accept)
        waiting.start()
        try:
            reserved = 1 if os.stat("/proc/self/fd").st_size else 0
            counted = Patience(5).until(lambda: fds.count() == before[0] + 1 + reserved)
            assert counted, (before, fds.count())
            assert len(list(fds.targets())) == before[1] + 1
        finally:
            socket.create_connection(server.getsockname()).close()
            waiting.join()


def made_up(tmp_path, pid, count):
    """Make a /proc tree of an old kernel, where a folder's size says nothing."""
    folder = tmp_path / str(pid) / "fd"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / str(number)).symlink_to(f"/somewhere/{number}")
    return str(tmp_path)


def test_old_kernels_are_asked_for_the_list(tmp_path, monkeypatch):
    """Where the folder's size is 0, its entries are counted, less the listing's own."""
    proc = made_up(tmp_path, 4711, 12)
    made_up(tmp_path, "self", 12)
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result([0] * 10))
    assert fds.count(4711, proc) == 12
    assert fds.count(None, proc) == 11


def test_without_proc_dev_fd_answers(tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with socket.socket():
        assert fds.count(None, str(tmp_path / "no-proc")) == fds.count()


def test_without_proc_psutil_answers_for_others(tmp_path, child):
    """There is no /dev/fd of another process."""
    assert fds.count(child.pid, str(tmp_path / "no-proc")) == fds.count(child.pid)


def test_targets_name_what_is_open(tmp_path):
    """Paths, and the kind of what has none."""
    path = tmp_path / "door.txt"
    with path.open("w") as file, socket.socket() as plug:
        targets = dict(fds.targets())
        assert targets[file.fileno()] == str(path)
        assert targets[plug.fileno()].startswith("socket:")
        assert fds.by_directory()[str(tmp_path)] == 1
    assert len(targets) == fds.count() + 2


def test_without_proc_targets_are_kinds(tmp_path):
    """`fstat` tells them apart."""
    with (tmp_path / "door.txt").open("w") as file, socket.socket() as plug:
        targets = dict(fds.targets(str(tmp_path / "no-proc")))
        assert targets[file.fileno()] in ("file:", os.readlink(f"/dev/fd/{file.fileno()}"))
        assert fds.place(targets[plug.fileno()]) == "socket"


def test_what_is_open_is_told_with_no_descriptor_left(tmp_path):
    """Listing takes a descriptor; without one every number below the limit is asked."""
    path = tmp_path / "last.txt"
    with path.open("w") as file, limited(file.fileno() + 1):
        spare = []
        with pytest.raises(OSError, match="Too many"):
            spare += iter(lambda: os.dup(0), None)
        assert dict(fds.targets())[file.fileno()] == str(path)
    for number in spare:
        os.close(number)


def test_what_is_open_is_told_where_it_cannot_be_listed(tmp_path, monkeypatch):
    """In a container without /proc there is no /dev/fd either: it leads there."""
    monkeypatch.setattr(fds, "folder", lambda _: str(tmp_path / "missing"))
    with (tmp_path / "door.txt").open("w") as file:
        assert dict(fds.targets())[file.fileno()] == str(tmp_path / "door.txt")


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("/var/log/a.txt", "/var/log"),
        ("/gone (deleted)", "/"),
        ("socket:[123]", "socket"),
        ("anon_inode:[eventpoll]", "anon_inode"),
        ("pipe:", "pipe"),
    ],
)
def test_places(target, place):
    """What a table of open descriptors groups by."""
    assert fds.place(target) == place


def test_memory_is_that_of_the_process(child):
    """In bytes; of a process that is gone there is none."""
    assert 1e6 < memory.rss_bytes() < 1e10
    seen = psutil.Process(child.pid)  # which may still be about to wait for its input
    assert Patience(10).until(lambda: memory.rss_bytes(child.pid) == seen.memory_info().rss)
    assert memory.rss_bytes(2**22 - 3) is None


def test_a_listing_in_another_thread_is_not_counted():
    """A look takes a descriptor for a moment; looks take turns, so that no count has it."""
    before = fds.count()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            fds.numbers()

    thread = threading.Thread(target=look)
    thread.start()
    counted = {fds.count() for _ in range(3000)}
    over.set()
    thread.join()
    assert counted == {before}
