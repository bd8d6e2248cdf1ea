"""What the collector knows is looked at by class, and let go of at once."""

import io

from harness import collector


def test_the_objects_of_a_class_are_found():
    """Those of its subclasses, too."""
    with open(__file__, "rb") as file:  # noqa: PTH123
        assert file.raw in collector.known(io.FileIO)
        assert file.raw in collector.known(io.RawIOBase)
        assert file.raw not in collector.known(io.BufferedWriter)
