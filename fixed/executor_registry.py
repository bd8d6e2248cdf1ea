"""A job runner that gives each job worker threads of its own, so that it can be cancelled alone.

`with` ends the executor's threads as soon as the job is done, whether it succeeded or not, and only
jobs that are under way are in `_pools`.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

WORKERS = 2


class JobRunner:
    """Runs jobs, each a function applied to many items at a time."""

    def __init__(self) -> None:
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def run(self, job: int, work: Callable[[str], int], items: Iterable[str]) -> list[int]:
        """Return what `work` gives for each of `items`, in their order.

        Raises CancelledError when another thread cancels the job, and what `work` raises.
        """
        with ThreadPoolExecutor(WORKERS, thread_name_prefix=f"job-{job}") as pool:
            self._pools[job] = pool
            try:
                return list(pool.map(work, items))
            finally:
                del self._pools[job]

    def cancel(self, job: int) -> None:
        """Let a running job do no more than it has begun."""
        if pool := self._pools.get(job):
            pool.shutdown(wait=False, cancel_futures=True)
