"""Profiles survive being written and read; what is no profile is refused in words."""

import gzip
import subprocess
import sys

import pytest

from harness.pprof.profile import (
    Frame,
    Profile,
    ProfileError,
    Sample,
    ValueType,
    column,
    difference,
    merged,
)
from harness.pprof.proto import decode, encode

COUNT = ValueType("goroutine", "count")
READ = Frame.at("net.read", "net.py", 12, 10, 4)
MAIN = Frame.at("main", "main.py", 3, 1, 8)


def profile(*samples: Sample) -> Profile:
    """Return a profile of `samples`, all else being the same."""
    return Profile((COUNT,), samples, COUNT, time_ns=7, program="python", comments=("made here",))


def plain(frame: Frame) -> Frame:
    """Return `frame` as it is read back: the format has no place for the offset."""
    return Frame(frame.function, frame.file, frame.line, frame.start_line, 0, frame.address)


def test_a_profile_is_read_back_as_it_was_written() -> None:
    """Stack, value, text and number labels, time, program and comments all come back."""
    labels = (("state", "IO wait"), ("fd", 7))
    written = profile(Sample((READ, MAIN), (48,), labels), Sample((MAIN,), (1,)))
    read = decode(encode(written))
    assert read.samples[0] == Sample((plain(READ), plain(MAIN)), (48,), labels)
    assert (read.types, read.time_ns, read.program, read.comments) == (
        (COUNT,), 7, "python", ("made here",),
    )  # fmt: skip


def test_threads_that_write_first_at_once_get_the_same_messages() -> None:
    """Six requests right after the start: each is answered."""
    program = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from harness.pprof.profile import Frame, Profile, Sample, ValueType
from harness.pprof.proto import encode
kind, barrier = ValueType("fd", "count"), Barrier(6)
profile = Profile((kind,), (Sample((Frame.at("f", "x", 1),), (1,), (("k", "v"),)),), kind)
with ThreadPoolExecutor(6) as pool:
    print(len(set(pool.map(lambda _: barrier.wait() * 0 or encode(profile), range(6)))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_equal_profiles_are_equal_bytes() -> None:
    """Nothing in the file depends on when it was written, and plain protobuf reads as well."""
    one = profile(Sample((READ,), (1,)))
    assert encode(one) == encode(profile(Sample((READ,), (1,))))
    assert decode(gzip.decompress(encode(one))) == decode(encode(one))


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"\x1f\x8b broken", encode(profile(Sample((READ,), (1,))))[:-20]]
)
def test_what_is_no_profile_is_refused_in_words(data: bytes) -> None:
    """Empty, HTML, broken and cut files name their size and say how to save a profile."""
    with pytest.raises(ProfileError, match=rf"not a profile.proto \({len(data)} bytes.*curl"):
        decode(data)


def test_difference_keeps_growth_and_loss_only() -> None:
    """What is equal in both vanishes; what went is negative; alike samples are added up."""
    read, main = Sample((READ,), (2,)), Sample((MAIN,), (1,))
    grown = difference(profile(*merged([read, read, read]), main), profile(read, main))
    assert grown.samples == (Sample((READ,), (4,)),)
    assert difference(profile(), profile(main)).samples == (Sample((MAIN,), (-1,)),)


def test_only_profiles_of_one_kind_are_compared() -> None:
    """The message names both kinds."""
    heap = Profile((ValueType("inuse_space", "bytes"),), (), ValueType("space", "bytes"))
    with pytest.raises(ProfileError, match="goroutine/count with one of inuse_space/bytes"):
        difference(profile(), heap)


def test_the_default_type_is_shown_first() -> None:
    """As in Go: the named one, or else the last."""
    types = (ValueType("a", "count"), ValueType("b", "count"))
    assert column(Profile(types, (), COUNT)) == 1
    assert column(Profile(types, (), COUNT, default_type="a")) == 0
