"""Values and names of a profile as people read them."""

_STEPS = {
    "bytes": (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)),
    "nanoseconds": (("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)),
}

_NOUNS = {
    "goroutine": "goroutine",
    "threadcreate": "thread",
    "fd": "descriptor",
    "socket": "socket",
}
"""What each profile counts, in a word that takes an `s`."""


def amount(value: int, unit: str) -> str:
    """Return `value` in the largest step of its unit that it fills: `1.50MB`, `-2s`, `48`."""
    for name, size in _STEPS.get(unit, ()):
        if abs(value) >= size:
            return f"{value / size:.2f}".rstrip("0").rstrip(".") + name
    return str(value)


def counted(value: int, kind: str, unit: str) -> str:
    """Return `value` with what it is of: `1 goroutine`, `48 goroutines`, `1.50MB inuse_space`."""
    if noun := _NOUNS.get(kind):
        kind = noun if abs(value) == 1 else f"{noun}s"
    return f"{amount(value, unit)} {printable(kind)}"


def printable(text: str) -> str:
    """Return `text` without control characters: names come from profiles of anyone's making."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)
