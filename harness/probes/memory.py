"""How much memory a process holds."""


def rss_bytes(pid: int | None = None) -> int | None:
    """Return the resident set size of `pid` in bytes, or `None` where it cannot be read.

    Raises OSError with no descriptor left to read it through.
    """
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
