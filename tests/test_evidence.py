"""The root cause that a run names: which of what is open, and who holds it."""

from contextlib import nullcontext

from harness.evidence import Evidence
from harness.tracker import Tracker
from leaky import queue_blocked


def test_a_file_that_a_threads_stack_holds_comes_before_the_thread(tmp_path):
    """The thread leads to itself through its upload; the file that its stack holds is the leak."""
    with Tracker() as tracker:
        upload = queue_blocked.Upload(tmp_path / "upload", 5)
        upload.add(b"chunk")
        upload.finish()
        opened, held_by = Evidence(tracker, queue_blocked, nullcontext).lines()
    upload.abort()
    assert opened.endswith("in Upload._write: 1 file")
    assert held_by.startswith("held by thread 'Thread-")
    assert held_by.endswith("local file → BufferedWriter")
