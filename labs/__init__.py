"""The labs: each a short module that says how to drive and judge a pair of twins."""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # `python -m labs.NAME` is being loaded (sys.argv in Python's manual)
    # Until the run takes signals itself Ctrl-C ends it without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
