"""Counts in the sentences of a verdict."""

import pytest

from labs.words import are


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 files are"), (1, "1 file is"), (5, "5 files are")]
)
def test_a_count_and_its_verb_agree(count, said):
    """One file is, several are."""
    assert are(count, "file") == said
