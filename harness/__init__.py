"""The instrument: paces a workload, asks the operating system what is open, judges the growth.

PYTEST_DONT_REWRITE: under `harness run -m pytest` this is imported before pytest, which would warn.
"""

import sys

if sys.platform == "win32":  # before any import of what only POSIX has: the rest could not be read
    sys.stderr.write("harness: error: Windows is not supported: run it in WSL (wsl --install)\n")
    raise SystemExit(2)
