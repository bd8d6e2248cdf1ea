"""The public format of profiles, profile.proto, written and read with the protobuf package.

Message and field numbers are those of https://github.com/google/pprof/blob/main/proto/profile.proto
"""

import gzip
import zlib
from collections.abc import Iterator
from functools import cache
from threading import Lock
from typing import Any

from harness.pprof.profile import Frame, Labels, Profile, ProfileError, Sample, Stack, ValueType

_PACKAGE = "perftools.profiles"
_GZIP = b"\x1f\x8b"
_MAPPING_END = 1 << 56
_READ_MAX_BYTES = 1 << 30

_MESSAGES = {
    "ValueType": "1 type int64, 2 unit int64",
    "Label": "1 key int64, 2 str int64, 3 num int64, 4 num_unit int64",
    "Sample": "1 location_id uint64*, 2 value int64*, 3 label Label*",
    "Mapping": "1 id uint64, 2 memory_start uint64, 3 memory_limit uint64, 4 file_offset uint64, "
    "5 filename int64, 6 build_id int64, 7 has_functions bool, 8 has_filenames bool, "
    "9 has_line_numbers bool, 10 has_inline_frames bool",
    "Line": "1 function_id uint64, 2 line int64",
    "Location": "1 id uint64, 2 mapping_id uint64, 3 address uint64, 4 line Line*, "
    "5 is_folded bool",
    "Function": "1 id uint64, 2 name int64, 3 system_name int64, 4 filename int64, "
    "5 start_line int64",
    "Profile": "1 sample_type ValueType*, 2 sample Sample*, 3 mapping Mapping*, "
    "4 location Location*, 5 function Function*, 6 string_table string*, 7 drop_frames int64, "
    "8 keep_frames int64, 9 time_nanos int64, 10 duration_nanos int64, 11 period_type ValueType, "
    "12 period int64, 13 comment int64*, 14 default_sample_type int64",
}
"""The messages as `number name type`, a star for repeated. Every text is an index into
Profile.string_table, whose first entry is empty."""


def encode(profile: Profile) -> bytes:
    """Return `profile` as gzipped profile.proto; equal profiles give equal bytes."""
    return gzip.compress(_Writer(profile).message.SerializeToString(), compresslevel=1, mtime=0)


def decode(data: bytes) -> Profile:
    """Read a profile, gzipped or not, of this program or of any other.

    Raises `ProfileError` if `data` is no profile.proto.
    """
    from google.protobuf.message import DecodeError

    message = _message("Profile")()
    try:
        message.ParseFromString(_unzipped(data))
        return _Reader(message).profile()
    except (DecodeError, OSError, EOFError, zlib.error, LookupError) as error:
        raise ProfileError(
            f"not a profile.proto ({len(data)} bytes: {error}): save one with "
            "`curl http://localhost:6060/debug/pprof/goroutine > x.pprof`"
        ) from error


def _unzipped(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    unzip = zlib.decompressobj(wbits=31)
    plain = unzip.decompress(data, _READ_MAX_BYTES)
    if not unzip.eof:
        raise EOFError(f"cut short, or more than {_READ_MAX_BYTES} bytes unpacked")
    return plain


_BUILDING = Lock()


def _message(name: str) -> Any:  # noqa: ANN401 - protobuf makes its classes at run time
    """Return the class of a message; two threads that ask first at once get the same one."""
    with _BUILDING:
        return _classes()[name]


@cache
def _classes() -> dict[str, Any]:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    file = FileDescriptorProto(name="profile.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            _add_field(message, *field.split())
    pool = DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES)
    return {each.name: GetMessageClass(each) for each in found}


def _add_field(message: Any, number: str, name: str, kind: str) -> None:  # noqa: ANN401
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    plain = kind.rstrip("*")
    field = message.field.add(name=name, number=int(number))
    field.label = Field.LABEL_REPEATED if kind.endswith("*") else Field.LABEL_OPTIONAL
    if plain in _MESSAGES:
        field.type, field.type_name = Field.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
    else:
        field.type = getattr(Field, f"TYPE_{plain.upper()}")


class _Writer:
    """Numbers the texts, functions and locations of a profile as they come up."""

    def __init__(self, profile: Profile) -> None:
        self.message = _message("Profile")()
        self._texts = {"": 0}
        self._functions: dict[tuple[str, str, int], int] = {}
        self._locations: dict[Frame, int] = {}
        self._stacks: dict[Stack, list[int]] = {}
        self._labels: dict[tuple[str, str | int], Any] = {}
        self._add_mapping(profile.program)
        for sample in profile.samples:
            self._add_sample(sample)
        self._add_head(profile)
        self.message.string_table.extend(self._texts)

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def _add_mapping(self, program: str) -> None:
        """Say that names are already there, so that no viewer looks for symbols in a binary."""
        self.message.mapping.add(
            id=1,
            memory_limit=_MAPPING_END,
            filename=self._text(program),
            has_functions=True,
            has_filenames=True,
            has_line_numbers=True,
        )

    def _add_head(self, profile: Profile) -> None:
        head = self.message
        for value_type in profile.types:
            head.sample_type.add(type=self._text(value_type.type), unit=self._text(value_type.unit))
        head.period_type.type = self._text(profile.period_type.type)
        head.period_type.unit = self._text(profile.period_type.unit)
        head.period, head.time_nanos = profile.period, profile.time_ns
        head.duration_nanos = profile.duration_ns
        head.default_sample_type = self._text(profile.default_type)
        head.comment.extend(self._text(comment) for comment in profile.comments)

    def _add_sample(self, sample: Sample) -> None:
        ids = self._stacks.get(sample.stack)
        if ids is None:
            ids = self._stacks[sample.stack] = [self._location(frame) for frame in sample.stack]
        labels = [self._label(label) for label in sample.labels]
        self.message.sample.add(location_id=ids, value=sample.values, label=labels)

    def _label(self, label: tuple[str, str | int]) -> Any:  # noqa: ANN401
        made = self._labels.get(label)
        if made is None:
            key, value = label
            said = {"num": value} if isinstance(value, int) else {"str": self._text(value)}
            made = self._labels[label] = _message("Label")(key=self._text(key), **said)
        return made

    def _location(self, frame: Frame) -> int:
        known = self._locations.get(frame)
        if known is not None:
            return known
        number = self._locations[frame] = len(self._locations) + 1
        location = self.message.location.add(id=number, mapping_id=1, address=frame.address)
        location.line.add(function_id=self._function(frame), line=frame.line)
        return number

    def _function(self, frame: Frame) -> int:
        key = frame.function, frame.file, frame.start_line
        known = self._functions.get(key)
        if known is not None:
            return known
        number = self._functions[key] = len(self._functions) + 1
        name = self._text(frame.function)
        self.message.function.add(
            id=number,
            name=name,
            system_name=name,
            filename=self._text(frame.file),
            start_line=frame.start_line,
        )
        return number


class _Reader:
    """Looks up what the numbers in a message stand for."""

    def __init__(self, message: Any) -> None:  # noqa: ANN401
        self._message = message
        self._texts = message.string_table
        self._functions = {function.id: function for function in message.function}
        self._frames = {place.id: tuple(self._expanded(place)) for place in message.location}

    def profile(self) -> Profile:
        head = self._message
        if not head.sample_type:
            raise LookupError("it counts nothing")
        return Profile(
            types=tuple(self._type(value_type) for value_type in head.sample_type),
            samples=tuple(self._sample(sample) for sample in head.sample),
            period_type=self._type(head.period_type),
            period=head.period,
            time_ns=head.time_nanos,
            duration_ns=head.duration_nanos,
            default_type=self._texts[head.default_sample_type],
            program=self._texts[head.mapping[0].filename] if head.mapping else "",
            comments=tuple(self._texts[comment] for comment in head.comment),
        )

    def _type(self, value_type: Any) -> ValueType:  # noqa: ANN401
        return ValueType(self._texts[value_type.type], self._texts[value_type.unit])

    def _sample(self, sample: Any) -> Sample:  # noqa: ANN401
        stack = tuple(frame for number in sample.location_id for frame in self._frames[number])
        if len(sample.value) != len(self._message.sample_type):
            raise LookupError("a sample has more or fewer values than there are types")
        return Sample(stack, tuple(sample.value), self._labels(sample.label))

    def _labels(self, labels: Any) -> Labels:  # noqa: ANN401
        return tuple(
            (self._texts[label.key], self._texts[label.str] if label.str else label.num)
            for label in labels
        )

    def _expanded(self, location: Any) -> Iterator[Frame]:  # noqa: ANN401
        """One frame for each call that was compiled into one place; its address if nameless."""
        for line in location.line:
            function = self._functions[line.function_id]
            yield Frame(
                self._texts[function.name],
                self._texts[function.filename],
                line.line,
                function.start_line,
                address=location.address,
            )
        if not location.line:
            yield Frame(f"{location.address:#x}", "", 0, address=location.address)
