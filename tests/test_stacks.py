"""Raw stacks: the same frames as a walk would find, however many there are."""

import sys
import threading

import pytest

from harness.tracking.stacks import USER_DEPTH, capture, is_library, prepare


def nested(depth):
    """Return a raw stack taken `depth` calls deep, and the code objects that a walk finds there."""
    if depth:
        return nested(depth - 1)
    frame, walked = sys._getframe(), []
    while frame:
        walked.append(frame.f_code)
        frame = frame.f_back
    return capture(sys._getframe()), walked


@pytest.mark.parametrize("depth", [0, 7, 8, 9, 40])
def test_a_stack_has_its_innermost_frames_and_at_most_so_many(depth):
    """A thread's first calls are few, a program's may be many: one too many or too few is lost."""
    prepare()
    found = []
    thread = threading.Thread(target=lambda: found.append(nested(depth)))
    thread.start()
    thread.join()
    ((stack, walked),) = found
    assert stack[::2] == walked[:USER_DEPTH]
    assert all(offset >= 0 for offset in stack[1::2])


@pytest.mark.parametrize("prefix", [sys.prefix, sys.base_prefix])
def test_an_installed_script_is_no_users_code(prefix):
    """`bin/pytest` is where every test is called from: it opened nothing."""
    assert is_library(f"{prefix}/bin/pytest")
