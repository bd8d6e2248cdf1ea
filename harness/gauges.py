"""The gauges that every run measures, whatever its lab."""

from .model import Gauge

OPEN_FDS = Gauge("app_files_open", "Open FDs", "Open file descriptors")
THREADS = Gauge("app_threads", "Threads", "Threads")
TASKS = Gauge("app_tasks", "Tasks", "Tasks")
RSS_BYTES = Gauge("process_resident_memory_bytes", "Memory", "Resident memory")

STANDARD = (OPEN_FDS, THREADS, TASKS, RSS_BYTES)
