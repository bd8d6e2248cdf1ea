"""The calls of every thread, walked at once."""

import gc
import threading

from harness.probes.calls import calls_of_threads


def test_each_thread_is_shown_with_its_calls_innermost_first():
    """This one, and one that waits."""
    inside, done = threading.Event(), threading.Event()

    def waits():
        inside.set()
        done.wait()

    thread = threading.Thread(target=waits)
    thread.start()
    inside.wait()
    found = calls_of_threads()
    done.set()
    thread.join()
    names = [frame.f_code.co_name for frame in found[thread.ident]]
    assert names.index("waits") < names.index("_bootstrap")
    own = [frame.f_code.co_name for frame in found[threading.get_ident()]]
    assert "test_each_thread_is_shown_with_its_calls_innermost_first" in own


def test_the_collector_is_as_it_was():
    """On stays on, off stays off."""
    assert calls_of_threads() and gc.isenabled()
    gc.disable()
    try:
        assert calls_of_threads() and not gc.isenabled()
    finally:
        gc.enable()
