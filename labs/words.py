"""Counts in sentences."""


def are(count: int, one: str) -> str:
    """Return `1 file is` or `3 files are`, for `file`."""
    return f"1 {one} is" if count == 1 else f"{count} {one}s are"
