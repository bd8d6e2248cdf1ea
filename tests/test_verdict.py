"""The judgement, on canned numbers."""

import pytest
from canned import sample
from hypothesis import given
from hypothesis import strategies as st

from harness.gauges import OPEN_FDS, TASKS
from harness.model import Sample
from harness.verdict import judge, judge_all


def samples(*values, step=100):
    """Return a baseline of 8 and a sample per value, `step` operations apart."""
    return [sample(0, 0, 8), *(sample(2 * n, step * n, v) for n, v in enumerate(values, 1))]


CASES = [
    pytest.param([108, 208, 308], True, id="a leak"),
    pytest.param([108, 208], None, id="growth twice is too little data"),
    pytest.param([108], None, id="one report is too little data"),
    pytest.param([], None, id="no report"),
    pytest.param([8, 8], False, id="flat"),
    pytest.param([9, 9, 9, 9], False, id="opened once and kept"),
    pytest.param([58, 58, 58], False, id="a pool filled before the first report"),
    pytest.param([28, 48, 58, 58, 58], None, id="a plateau is not called a leak"),
    pytest.param([10, 30, 50, 10, 30, 50], None, id="a saw-tooth at its top"),
    pytest.param([9, 10, 9, 10], False, id="one more at the end of a wobble"),
    pytest.param([50, 10, 30, 50, 10], False, id="a saw-tooth at its foot"),
    pytest.param([108, 90, 70], False, id="shrinking"),
    pytest.param([9, 10, 11], None, id="one in a hundred operations is too slow to tell"),
    pytest.param([10, 12, 14], True, id="one in fifty is a leak"),
    pytest.param([108, None, 308], None, id="a report without a value"),
    pytest.param([None, None, None], None, id="nothing could be measured"),
]


@pytest.mark.parametrize(("values", "leaking"), CASES)
def test_what_grows_at_every_report_is_a_leak(values, leaking):
    """Three reports for a leak, two for stable, else it is left open."""
    verdict = judge(samples(*values), OPEN_FDS)
    assert verdict.leaking is leaking
    assert verdict.gauge is OPEN_FDS


def test_the_verdict_tells_its_evidence():
    """Growth per operation, and between what it was measured."""
    verdict = judge(samples(108, 208, 308), OPEN_FDS)
    assert verdict.growth_per_operation == 1
    assert verdict.evidence == "Open file descriptors: +200 over 200 operations, 3 reports"
    assert "too little data" in judge(samples(108), OPEN_FDS).evidence


def test_several_gauges_are_judged_together():
    """A leak in any is one; stable means that all are; what is open leaves it open."""

    def both(fds, tasks):
        return [
            Sample(n, 100 * n, {OPEN_FDS: f, TASKS: t})
            for n, (f, t) in enumerate(zip(fds, tasks, strict=True))
        ]

    flat, leak, plateau = [8, 8, 8, 8], [8, 108, 208, 308], [8, 28, 48, 48]
    gauges = [OPEN_FDS, TASKS]
    assert judge_all(both(flat, leak), gauges).leaking is True
    assert judge_all(both(flat, leak), gauges).gauge is TASKS
    assert judge_all(both(leak, flat), gauges).gauge is OPEN_FDS
    assert judge_all(both(flat, flat), gauges).leaking is False
    assert judge_all(both(flat, plateau), gauges).leaking is None


@given(base=st.integers(3, 1000), per=st.integers(1, 5), reports=st.integers(3, 20))
def test_steady_growth_is_always_found(base, per, reports):
    """Whatever was open before, however many reports."""
    values = [base + per * 100 * n for n in range(1, reports + 1)]
    verdict = judge(samples(*values), OPEN_FDS)
    assert verdict.leaking is True
    assert verdict.growth_per_operation == per


@given(st.lists(st.integers(3, 1000), min_size=2), st.integers(3, 1000))
def test_what_comes_back_to_where_it_was_is_never_a_leak(values, first):
    """The trough counts, not the top."""
    assert judge(samples(first, *values, first), OPEN_FDS).leaking is False
