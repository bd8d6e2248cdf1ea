"""What a user can put right, said in one line."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UsageError(Exception):
    """Something that the user asked for cannot be done: what was wrong, the value, what to do."""


def without_room(error: BaseException) -> UsageError | None:
    """Return what to say of a stream that takes no more; `None` for any other error.

    That of a file has its name, and whoever has opened it says so.
    """
    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        return UsageError(
            f"cannot write the output: {error.strerror}; send it to where there is room"
        )
    return None
