"""What the collector knows is looked at by class, and let go of at once."""

import io
import weakref

import pytest

from harness import collector


class Request:
    """Stands for something else, and cannot at present, as Flask's `request` outside of one."""

    @property
    def __class__(self):
        raise RuntimeError("working outside of request context")


def test_the_objects_of_a_class_are_found():
    """Those of its subclasses, too."""
    with open(__file__, "rb") as file:  # noqa: PTH123
        assert file.raw in collector.known(io.FileIO)
        assert file.raw in collector.known(io.RawIOBase)
        assert file.raw not in collector.known(io.BufferedWriter)


def test_no_object_is_asked_what_it_is():
    """One that stands for another may raise then, or query a database; a dead proxy raises."""
    request, proxy = Request(), weakref.proxy(Request())
    with pytest.raises(RuntimeError):
        isinstance(request, io.FileIO)
    with pytest.raises(ReferenceError):
        isinstance(proxy, io.FileIO)
    assert request not in collector.known(io.FileIO)
    assert collector.known(Request) == [request]


def test_nothing_is_kept_of_the_look():
    """What was not wanted is gone as soon as the look is over."""
    with open(__file__, "rb") as file:  # noqa: PTH123
        (found,) = [each for each in collector.known(io.FileIO) if each is file.raw]
        seen = weakref.ref(found)
        del found
    del file
    assert seen() is None
