"""What is kept is counted in whatever shape, and what is dropped is not."""

from labs.kept import MEGABYTE, kept_bytes


def test_what_is_kept_is_counted():
    """Also in another shape than it came."""
    kept: list[object] = []
    assert kept_bytes(lambda: kept.append(("x" * MEGABYTE).encode())) // MEGABYTE == 1


def test_what_is_dropped_is_not_counted():
    """Not even what only the collector can take."""

    def drop() -> None:
        cycle: list[object] = [bytes(MEGABYTE)]
        cycle.append(cycle)

    assert kept_bytes(drop) // MEGABYTE == 0
