"""A learner's copy offers what its callers use, or is refused in a sentence."""

from types import ModuleType

import pytest

from harness.errors import UsageError
from harness.mine import load

ORIGINAL = """
class Refused(Exception):
    pass

class Importer:
    def begin(self, number): ...
"""


@pytest.fixture
def original():
    """A module with an exception that has no constructor of its own, and a class."""
    module = ModuleType("original")
    exec(ORIGINAL, vars(module))
    return module


def loaded(tmp_path, source: str, original: ModuleType) -> ModuleType:
    """Return a copy with this source, loaded as one of `original`."""
    path = tmp_path / "copy.py"
    path.write_text(source, encoding="utf-8")
    return load(path, original)


@pytest.mark.parametrize("body", ["pass", "def __init__(self, message): super().__init__(message)"])
def test_an_exception_may_inherit_its_constructor(tmp_path, original, body):
    """What a built-in takes Python does not tell: such a copy is accepted, with or without one."""
    module = loaded(tmp_path, ORIGINAL.replace("pass", body), original)
    assert issubclass(module.Refused, Exception)


def test_what_is_missing_besides_is_still_seen(tmp_path, original):
    """The method of another class is not overlooked."""
    with pytest.raises(UsageError, match=r"Importer\.begin is missing"):
        loaded(tmp_path, ORIGINAL.replace("begin", "start"), original)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def begin(:\n", "copy.py:1: invalid syntax: def begin(:"),
        ("", "copy.py: Refused is missing, and its callers need it; bring it back"),
        ("\0", "copy.py: source code string cannot contain null bytes"),
        ("import nothing_of_the_kind", "copy.py:1 in <module>: cannot be imported: "),
    ],
    ids=["no Python", "empty", "binary", "import"],
)
def test_a_copy_that_cannot_be_loaded(source, says, tmp_path, original, monkeypatch):
    """The file is named as elsewhere, from the current folder, and its line where there is one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        loaded(tmp_path, source, original)
    assert str(refused.value).startswith(says)
    assert "None" not in str(refused.value)
