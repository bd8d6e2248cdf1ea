"""The runner keeps its pace, tells its sinks and ends when a resource runs out."""

import asyncio
import errno
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clock import ManualClock
from harness.gauges import OPEN_FDS
from harness.model import (
    Ended,
    Exhaustion,
    Failure,
    Run,
    Sampled,
    Started,
    Traced,
    Variant,
    Workload,
)
from harness.runner import Pace, Runner, cancelled_after, refusal

RATES = [0.1, 0.3, 1, 3, 7, 24.999, 25, 29.97, 50, 60, 333, 1000 / 3, 2000, 10_000]


def runner(sinks=(), reading=lambda: 8, clock=None, dropped=None, survey=dict, trace=tuple):
    """Return a runner with one gauge on a clock by hand."""
    run = Run("lab", Variant.LEAKY, 1, 50, None)
    on_broken = (dropped if dropped is not None else []).append
    return Runner(
        run,
        [OPEN_FDS],
        {OPEN_FDS: reading},
        sinks,
        clock or ManualClock(),
        survey,
        trace,
        on_broken,
    )


def drive(made, operate, pace):
    """Start a runner, drive `operate` at `pace` and end it; return its run."""
    made.start()
    made.drive(Workload(operate), pace.steps())
    return made.end()


def counts(pace):
    """Return how many operations were due at each report."""
    done, found = 0, []
    for step in pace.steps():
        done += step.operation is not None
        if step.operation is None:
            found.append((step.due_s, done))
    return found


@pytest.mark.parametrize("rate", RATES)
def test_at_every_report_rate_times_elapsed_operations_were_due(rate):
    """Whole numbers come out exactly, also where a rate is no binary fraction."""
    for due_s, done in counts(Pace(rate, 0.1, 10)):
        product = rate * due_s
        assert done == round(product) if abs(product - round(product)) < 1e-6 else done >= product
        assert done < product + 1


@given(
    rate=st.floats(0.1, 2000),
    every=st.floats(0.05, 5),
    duration=st.floats(0.1, 3),
)
def test_every_operation_is_due_once_in_order_and_before_its_report(rate, every, duration):
    """For any rate, report interval and duration."""
    steps = list(Pace(rate, every, duration).steps())
    operations = [step.operation for step in steps if step.operation is not None]
    assert operations == list(range(len(operations)))
    assert all(step.due_s == step.operation / rate for step in steps if step.operation is not None)
    dues = [step.due_s for step in steps]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(dues))
    assert (steps[-1].operation, steps[-1].due_s) == (None, duration)
    assert duration * rate - 1e-5 <= len(operations) < duration * rate + 1


def test_a_report_at_the_very_end_comes_once():
    """0.1 × 3 is not 0.3 in binary: no second report a hair before the end."""
    assert [due_s for due_s, _ in counts(Pace(50, 0.1, 0.3))] == [0.1, 0.2, 0.3]
    assert [due_s for due_s, _ in counts(Pace(50, 2, 10))] == [2, 4, 6, 8, 10]
    assert [due_s for due_s, _ in counts(Pace(50, 4, 10))] == [4, 8, 10]
    assert [due_s for due_s, _ in counts(Pace(50, 60, 10))] == [10]


def test_lateness_does_not_add_up():
    """One slow operation delays what is due meanwhile; the reports after it are on time."""
    clock = ManualClock()

    def operate(number):
        clock.wait_until(clock.now_s() + (1.5 if number == 60 else 0.001))

    run = drive(runner(clock=clock), operate, Pace(50, 1, 5))
    assert [each.operations for each in run.samples] == [0, 50, 100, 150, 200, 250]
    times = [each.elapsed_s for each in run.samples]
    assert times == pytest.approx([0, 1, 2.739, 3, 4, 5])


def test_operations_that_are_always_too_slow_still_all_happen():
    """The counts stay exact; the reports tell how late they came."""
    clock = ManualClock()
    run = drive(
        runner(clock=clock), lambda _: clock.wait_until(clock.now_s() + 0.03), Pace(50, 1, 2)
    )
    assert [each.operations for each in run.samples] == [0, 50, 100]
    assert run.samples[-1].elapsed_s == pytest.approx(3)


def test_sinks_are_told_in_order():
    """Start, reports, end; the verdict comes with the report that settles it."""
    told, opened = [], []
    made = runner([told.append], lambda: 8 + len(opened))
    run = drive(made, opened.append, Pace(50, 2, 10))
    kinds = [Started, *[Sampled] * 3, Traced, *[Sampled] * 2, Ended]
    assert [type(event) for event in told] == kinds
    reports = [event for event in told if isinstance(event, Sampled)]
    assert [event.verdict and event.verdict.leaking for event in reports] == [
        None,
        None,
        True,
        None,
        None,
    ]
    assert told[-1].run is run
    assert run.verdict.leaking is True


def test_a_failing_sink_is_reported_once_and_dropped():
    """The run and the other sinks go on."""
    told, dropped, calls = [], [], []

    def broken(event):
        calls.append(event)
        raise KeyError("no such view")

    drive(runner([broken, told.append], dropped=dropped), lambda _: None, Pace(50, 1, 3))
    assert len(calls) == 1
    assert [str(error) for error in dropped] == ["'no such view'"]
    assert len(told) == 5


def test_a_closed_output_ends_the_run():
    """Nobody reads any more: that is no failing view."""

    def closed(event):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        runner([closed]).start()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT])
def test_a_resource_that_ran_out_ends_the_run(number):
    """Going on would only repeat the error; what was open where is asked at that moment."""
    told = []

    def operate(operation):
        if operation == 70:
            raise OSError(number, os.strerror(number), "door")

    made = runner([told.append], survey=lambda: {"/tmp": 70})
    run = drive(made, operate, Pace(50, 1, 10))
    assert [type(event) for event in told] == [Started, Sampled, Exhaustion, Traced, Ended]
    assert run.samples[-1].operations == 70
    assert run.samples[-1].elapsed_s == pytest.approx(1.4)
    assert run.exhaustion.message == f"[Errno {number}] {os.strerror(number)}: 'door'"
    assert run.exhaustion.open_by_directory == {"/tmp": 70}


def test_a_refusal_is_found_below_a_librarys_own_error():
    """Libraries wrap what the operating system said."""
    try:
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError as error:
            raise ConnectionError("cannot connect") from error
    except ConnectionError as error:
        assert refusal(error).errno == errno.EMFILE
    assert refusal(OSError(errno.ENOENT, "No such file")) is None
    circle = ValueError()
    circle.__context__ = KeyError()
    circle.__context__.__context__ = circle
    assert refusal(circle) is None


def test_failed_operations_are_counted_and_the_first_of_each_kind_is_shown():
    """The run goes on: an error path is where many leaks live."""
    told = []

    def operate(operation):
        if operation % 10 == 4:
            raise ValueError("no such door")
        if operation == 33:
            raise TimeoutError

    run = drive(runner([told.append]), operate, Pace(50, 1, 1))
    shown = [event for event in told if isinstance(event, Failure)]
    assert [(each.kind, each.message, each.operation) for each in shown] == [
        ("ValueError", "no such door", 5),
        ("TimeoutError", "", 34),
    ]
    assert shown[0].elapsed_s == pytest.approx(4 / 50)
    assert {each.kind: each.count for each in run.failures} == {"ValueError": 5, "TimeoutError": 1}
    assert run.samples[-1].operations == 50


def test_what_cannot_be_measured_is_none():
    """A gauge without a value stays without one."""
    run = drive(runner(reading=lambda: None), lambda _: None, Pace(50, 1, 3))
    assert [each.values[OPEN_FDS] for each in run.samples] == [None] * 4
    assert run.verdict.leaking is None


def test_an_interrupted_run_is_measured_once_more():
    """The last sample tells how it ended, not how it was at the last report."""
    told, clock = [], ManualClock()
    made = runner([told.append], clock=clock)
    made.start()
    clock.wait_until(1.25)
    made.end(interrupted=True)
    assert told[-1].interrupted
    assert [each.elapsed_s for each in told[-1].run.samples] == [0, 1.25]


def test_what_ends_an_interrupted_run_is_not_in_its_last_sample():
    """Its tasks are cancelled then: it was looked at before."""
    tasks = iter([3, 41, 5])
    made = runner(reading=lambda: next(tasks))
    made.start()
    made.look()
    run = made.end(interrupted=True)
    assert [each.values[OPEN_FDS] for each in run.samples] == [3, 41]


def test_an_interruption_makes_no_leak_look_stable():
    """Just after the only report a leak has not grown: that is no evidence of anything."""
    opened = iter([8, 14, 14])
    made = runner(reading=lambda: next(opened))
    made.start()
    made.drive(Workload(lambda _: None), Pace(50, 1, 1).steps())
    run = made.end(interrupted=True)
    assert [each.values[OPEN_FDS] for each in run.samples] == [8, 14, 14]
    assert run.verdict.leaking is None


def test_asynchronous_operations_do_not_hold_up_the_next():
    """One that never answers is still under way at the end of the run, and cancelled after it."""
    ended = []

    async def operate(number):
        try:
            await (asyncio.sleep(0) if number else asyncio.Event().wait())
        finally:
            ended.append(number)

    async def main():
        made = runner()
        made.start()
        async with cancelled_after() as under_way:
            await made.drive_async(Workload(operate), Pace(50, 1, 2).steps(), under_way)
            assert 0 not in ended
        return made.end(), asyncio.all_tasks()

    run, left = asyncio.run(main())
    assert [each.operations for each in run.samples] == [0, 50, 100]
    assert sorted(ended) == list(range(100))
    assert ended[-1] == 0
    assert len(left) == 1


def test_a_run_of_hours_keeps_no_more_samples_than_a_chart_shows():
    """Its own memory must not grow with its length; it begins and ends as it did, and is judged."""
    rising = iter(range(10_000))
    run = drive(runner(reading=lambda: next(rising)), lambda _: None, Pace(1, 1, 2_000))
    assert len(run.samples) == 300
    assert [run.samples[0].operations, run.samples[-1].operations] == [0, 2_000]
    assert run.verdict.leaking is True


class Starved(ManualClock):
    """The clock of a thread that has a tenth of a processor."""

    async def wait_until_async(self, due_s):
        """Nine tenths of the time were spent in a queue."""
        before_s = self.now_s()
        await super().wait_until_async(due_s)
        self.starved += 0.9 * (self.now_s() - before_s)


@pytest.mark.parametrize("clock", [ManualClock, Starved])
def test_a_starved_machine_is_no_operation_that_hangs(clock):
    """What got a tenth of a second of a processor in one is waited for at the next report."""
    turns = asyncio.Event()

    async def operate(number):
        if number == 0:
            await asyncio.sleep(0.05)
            turns.set()

    async def main():
        made = runner(clock=clock())
        made.start()
        async with cancelled_after() as under_way:
            await made.drive_async(Workload(operate), Pace(1, 1, 1).steps(), under_way)
            return turns.is_set()

    assert asyncio.run(main()) is (clock is Starved)


def test_an_asynchronous_run_ends_when_a_resource_runs_out():
    """As a synchronous one does."""

    async def operate(number):
        if number == 20:
            raise OSError(errno.EMFILE, "Too many open files")

    async def main():
        made = runner()
        made.start()
        async with cancelled_after() as under_way:
            await made.drive_async(Workload(operate), Pace(50, 1, 2).steps(), under_way)
        return made.end()

    run = asyncio.run(main())
    assert run.exhaustion.message == "[Errno 24] Too many open files"
    assert run.samples[-1].operations < 30
