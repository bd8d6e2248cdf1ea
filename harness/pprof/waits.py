"""What a stack that waits is waiting for, in the words of a Go goroutine's state.

The states are those of Go's runtime (`waitReasonStrings` in runtime/runtime2.go): `IO wait` for a
socket, `chan receive` and `chan send` for the two ends of a queue or a result, `select` for the
first of several things, `sync.Mutex.Lock`, `sync.Cond.Wait`, `sync.WaitGroup.Wait`, `semacquire`,
`sleep`, `syscall`, `runnable` and `running`.
"""

from collections.abc import Iterator
from itertools import takewhile

from harness.pprof.profile import Frame, Stack

IO_WAIT = "IO wait"
RECEIVE = "chan receive"
SEND = "chan send"
SELECT = "select"
LOCK = "sync.Mutex.Lock"
CONDITION = "sync.Cond.Wait"
GROUP = "sync.WaitGroup.Wait"
SEMAPHORE = "semacquire"
SLEEP = "sleep"
SYSCALL = "syscall"
RUNNABLE = "runnable"
RUNNING = "running"

STATES = {
    "asyncio.tasks.sleep": SLEEP,
    "asyncio.queues.Queue.get": RECEIVE,
    "asyncio.queues.Queue.put": SEND,
    "asyncio.queues.Queue.join": GROUP,
    "asyncio.locks.Lock.acquire": LOCK,
    "asyncio.locks.Semaphore.acquire": SEMAPHORE,
    "asyncio.locks.Condition.wait": CONDITION,
    "asyncio.locks.Event.wait": RECEIVE,
    "asyncio.locks.Barrier.wait": GROUP,
    "asyncio.tasks.wait": SELECT,
    "asyncio.tasks.wait_for": SELECT,
    "asyncio.tasks.as_completed.<locals>._wait_for_one": SELECT,
    "asyncio.tasks._AsCompletedIterator._wait_for_one": SELECT,
    "asyncio.taskgroups.TaskGroup.__aexit__": GROUP,
    "asyncio.threads.to_thread": RECEIVE,
    "asyncio.subprocess.Process.wait": SYSCALL,
    "threading.Condition.wait": CONDITION,
    "threading.Event.wait": RECEIVE,
    "threading.Semaphore.acquire": SEMAPHORE,
    "threading.Barrier.wait": GROUP,
    "threading.Thread.join": GROUP,
    "threading._shutdown": GROUP,
    "queue.Queue.get": RECEIVE,
    "queue.Queue.put": SEND,
    "queue.Queue.join": GROUP,
    "concurrent.futures._base.Future.result": RECEIVE,
    "concurrent.futures._base.Future.exception": RECEIVE,
    "concurrent.futures._base.wait": SELECT,
    "concurrent.futures._base.as_completed": SELECT,
    "multiprocessing.connection.wait": SELECT,
    "multiprocessing.queues.Queue.get": RECEIVE,
    "subprocess.Popen.wait": SYSCALL,
    "subprocess.Popen.communicate": SYSCALL,
    "socket.create_connection": IO_WAIT,
    "socket.SocketIO.readinto": IO_WAIT,
    "socket.SocketIO.write": IO_WAIT,
    "socket.socket.accept": IO_WAIT,
    "ssl.SSLSocket.do_handshake": IO_WAIT,
    "ssl.SSLSocket.read": IO_WAIT,
    "ssl.SSLSocket.sendall": IO_WAIT,
    "selectors.EpollSelector.select": SELECT,
    "selectors.KqueueSelector.select": SELECT,
    "selectors.PollSelector.select": SELECT,
    "selectors.SelectSelector.select": SELECT,
}
"""The standard library's functions that wait, and what for."""

_LIBRARY = {name.partition(".")[0] for name in STATES}


def known_wait(stack: Stack) -> tuple[str, str] | None:
    """Return the state that a waiting `stack` is in, and the name of what it waits on.

    Of the standard library's calls at the top the outermost counts: a queue's `get` waits in a
    condition, and it is the queue that the program waits for. `None` if none of them is known.
    """
    known = [frame.function for frame in _library_calls(stack) if frame.function in STATES]
    return (STATES[known[-1]], _short(known[-1])) if known else None


def _library_calls(stack: Stack) -> Iterator[Frame]:
    return takewhile(lambda frame: frame.function.partition(".")[0] in _LIBRARY, stack)


def _short(function: str) -> str:
    """Return `Queue.get` for `asyncio.queues.Queue.get`, `sleep` for `asyncio.tasks.sleep`."""
    owner, _, name = function.rpartition(".")
    owner = owner.rpartition(".")[2]
    return f"{owner}.{name}" if owner[:1].isupper() else name
