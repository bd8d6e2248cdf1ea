"""Signals end a run once; those that follow find it ending."""

import io
import os
import signal
import subprocess
import sys

import pytest
from running import ROOT

from harness import stops


def in_child(code):
    """Run code in a process of its own; return status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", "import os, signal, sys\nfrom harness import stops\n" + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", stops.ENDING)
def test_a_signal_raises_stopped_with_the_shells_status(number):
    """128 + its number."""
    code = f"stops.stop_on_signals(); signal.raise_signal({int(number)})"
    assert in_child(code) == (128 + number, "", "")


def test_the_second_signal_does_not_disturb_the_cleaning_up():
    """A second Ctrl-C during the clean-up of the first changes nothing."""
    code = """
stops.stop_on_signals()
try:
    signal.raise_signal(signal.SIGINT)
except stops.Stopped as stopped:
    for number in stops.ENDING:
        signal.raise_signal(number)
    print("clean", stopped.number)
"""
    assert in_child(code) == (0, "clean 2\n", "")


def test_signals_at_the_same_moment_are_taken_as_one():
    """CPython complains of one that became ignored between its coming and its handling."""
    code = """
stops.stop_on_signals()
signal.pthread_sigmask(signal.SIG_BLOCK, stops.ENDING)
for number in stops.ENDING:
    os.kill(os.getpid(), number)
try:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stops.ENDING)
except stops.Stopped as stopped:
    print("once")
"""
    assert in_child(code) == (0, "once\n", "")


def test_importing_sets_no_handler():
    """Nothing happens at import."""
    code = "print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)"
    assert in_child(code) == (0, "True\n", "")


def test_a_stream_whose_reader_has_gone_is_silenced():
    """What is still in its buffer goes nowhere, without a complaint."""
    reading, writing = os.pipe()
    stream = io.TextIOWrapper(io.FileIO(writing, "w"))
    os.close(reading)
    stream.write("x" * 100)
    stops.silence(stream)
    stream.close()
    assert signal.getsignal(signal.SIGINT) is not stops.stop


def test_a_signal_that_python_wrapped_is_found():
    """Until 3.12 what is raised while a class is made comes as the cause of a RuntimeError."""
    stopped = stops.Stopped(15)
    try:
        raise RuntimeError("Error calling __set_name__") from stopped
    except RuntimeError as error:
        assert stops.stopped_by(error) is stopped
    assert stops.stopped_by(RuntimeError("something else")) is None


def test_an_event_loop_ends_between_two_callbacks():
    """A signal between the making of a coroutine and its first step leaves nothing un-awaited."""
    code = """
import asyncio
async def step():
    print("stepped")
async def main():
    stops.stop_between_callbacks(asyncio.get_running_loop())
    made = step()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    await made
    await asyncio.sleep(60)
asyncio.run(main())
"""
    assert in_child(code) == (143, "stepped\n", "")


def test_a_stuck_event_loop_ends_at_a_later_signal():
    """Who presses Ctrl-C again after a while is not kept waiting by a callback without an end."""
    code = """
import asyncio
stops.LOOP_PATIENCE_S = 0
async def main():
    stops.stop_between_callbacks(asyncio.get_running_loop())
    while True:
        signal.raise_signal(signal.SIGINT)
asyncio.run(main())
"""
    assert in_child(code) == (130, "", "")


def test_a_signal_as_the_main_task_ends_is_a_signal():
    """The event loop complains of having been stopped; the signal is what ended the run."""
    code = """
import asyncio
from harness import command
async def main():
    loop = asyncio.get_running_loop()
    stops.stop_between_callbacks(loop)
    loop.create_task(asyncio.sleep(60))
    loop.call_soon(signal.raise_signal, signal.SIGTERM)
    await asyncio.sleep(0)
sys.exit(command.run("lab", lambda: asyncio.run(main())))
"""
    assert in_child(code) == (143, "", "")


def test_what_had_not_begun_at_the_end_is_not_complained_of():
    """A library may wrap a coroutine in a task that is cancelled before its first step."""
    code = """
import asyncio
async def wrapped(inner):
    await inner
async def main():
    loop = asyncio.get_running_loop()
    stops.stop_between_callbacks(loop)
    signal.raise_signal(signal.SIGTERM)
    while True:
        loop.create_task(wrapped(asyncio.sleep(60)))
        await asyncio.sleep(0)
asyncio.run(main())
"""
    assert in_child(code) == (143, "", "")
