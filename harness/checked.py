"""The child process of `harness check`: calls the target in rounds and writes what it found.

Not for calling directly: `harness check` starts it with one argument, its orders as JSON.
"""

import gc
import json
import math
import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from harness.errors import UsageError
from harness.findings import Plan, Result
from harness.limits import set_soft
from harness.rounds import check
from harness.target import load


def main() -> None:
    """Judge, write the result, and end at once: threads that a leak left would hold up an exit."""
    orders = json.loads(sys.argv.pop())
    result = _judged(orders)
    set_soft(math.inf)  # none may be left to write the result with
    Path(orders["result"]).write_text(json.dumps(asdict(result)), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _judged(orders: dict[str, object]) -> Result:
    target = str(orders["target"])
    try:
        call = load(target)
        if isinstance(orders["limit"], int):
            set_soft(orders["limit"])
        gc.freeze()  # what is there before the first call needs no collecting after each round
        return check(call, Plan(**orders["plan"]))  # type: ignore[arg-type]
    except UsageError as error:
        return Result("unknown", reason=str(error))
    except BaseException as error:  # noqa: BLE001 (a target may raise anything, SystemExit too)
        ours = str(Path(__file__).parent) + os.sep
        all_frames = traceback.extract_tb(error.__traceback__)
        frames = [each for each in all_frames if not each.filename.startswith(ours)][-1:]
        what = "".join(traceback.format_exception_only(error)).strip()
        at = "".join(f" at {each.filename}:{each.lineno} in {each.name}" for each in frames)
        return Result("unknown", reason=f"{target} raised {what}{at}")
