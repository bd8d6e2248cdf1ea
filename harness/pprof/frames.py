"""Python frames as profile frames."""

from types import CodeType, FrameType

from harness.pprof.profile import Frame


class Frames:
    """Describes frames, each place in the code only once: ten thousand tasks share few places."""

    def __init__(self) -> None:
        """Begin with none known; keep one for a snapshot, not for longer."""
        self._known: dict[tuple[int, int], tuple[CodeType, Frame]] = {}

    def frame(self, frame: FrameType) -> Frame:
        """Return where `frame` is now, its function named with its module."""
        code, offset = frame.f_code, frame.f_lasti
        known = self._known.get((id(code), offset))
        if known is None:  # by id, since code is hashed by its whole content; so it is kept alive
            described = _described(frame)
            self._known[id(code), offset] = code, described
            return described
        return known[1]


def _described(frame: FrameType) -> Frame:
    code = frame.f_code
    return Frame.at(
        f"{frame.f_globals.get('__name__', '')}.{code.co_qualname}",
        code.co_filename,
        frame.f_lineno or code.co_firstlineno,
        code.co_firstlineno,
        max(frame.f_lasti, 0),
    )
