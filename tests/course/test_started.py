"""The threads that a subject started."""

import threading

from labs.started import Started


def test_a_thread_that_is_left_is_counted_though_an_earlier_one_ends():
    """One thread of before ends and one is left: a number alone would say that nothing is."""
    go, goes_on = threading.Event(), threading.Event()
    earlier = threading.Thread(target=go.wait)
    earlier.start()
    started = Started()
    left = threading.Thread(target=goes_on.wait)
    left.start()
    go.set()
    earlier.join()
    try:
        assert (started.count(), started.end(0.01)) == (1, False)
    finally:
        goes_on.set()
    assert started.end(5)
    assert started.count() == 0
