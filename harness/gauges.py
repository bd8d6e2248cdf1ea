"""The gauges that every run measures, whatever its lab.

Names that begin with `process_` are those that every Prometheus client library exports.
"""

from .model import Gauge

OPEN_FDS = Gauge(
    "process_open_fds",
    "Open FDs",
    "Open file descriptors",
    "Open file descriptors, without those that the debug server's readers take.",
)
FILES = Gauge(
    "app_files_open",
    "Open files",
    "Open files",
    "Open descriptors that are regular files; sockets, pipes and devices are none.",
)
THREADS = Gauge("app_threads", "Threads", "Threads", "Threads that run Python.")
TASKS = Gauge("app_tasks", "Tasks", "Tasks", "asyncio tasks that are not done, of every loop.")
RSS_BYTES = Gauge(
    "process_resident_memory_bytes", "Memory", "Resident memory", "Resident memory in bytes."
)

STANDARD = (OPEN_FDS, FILES, THREADS, TASKS, RSS_BYTES)
