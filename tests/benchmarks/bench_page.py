"""The live page at nearly 20,000 descriptors: what a look costs, and whether the lab keeps its pace.

`python tests/benchmarks/bench_page.py` needs `ulimit -Hn` of 20000 or more.
"""

import json
import subprocess
import sys
import threading
import time
import urllib.request

RATE = ["--rate", "3200", "--duration", "6", "--report-every", "0.5", "--port", "0", "--json"]


def run(watched):
    """Run the leaky lab with or without visitors; return its lateness and what visitors saw."""
    command = [sys.executable, "-m", "labs.file_leak", "--leaky", *RATE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first = json.loads(process.stdout.readline())
        seen = []
        if watched:
            visitor = threading.Thread(target=visit, args=(first["server_port"], seen))
            visitor.start()
        reports = [json.loads(line) for line in process.stdout]
    late_s = [
        each["elapsed_s"] - 0.5 * number
        for number, each in enumerate(
            (each for each in reports if each["event"] == "report"), start=1
        )
    ]
    return max(late_s), reports[-1]["values"]["app_files_open"], seen


def visit(port, seen):
    """Follow the run as the page with an opened group does, until it ends."""
    changes = -1
    try:
        while True:
            run, _, _ = get(port, f"page/run.json?after={changes}")
            changes = run["changes"]
            seen.append(get(port, "page/open.json?holders=1")[1:])
    except OSError:
        return


def get(port, path):
    """Return the document, its size in bytes, and the seconds it took."""
    began_s = time.monotonic()
    with urllib.request.urlopen(f"http://localhost:{port}/{path}", timeout=60) as answer:
        body = answer.read()
    return json.loads(body), len(body), time.monotonic() - began_s


def main():
    """Print both runs."""
    for watched in (False, True):
        late_s, open_fds, seen = run(watched)
        print(f"{'with' if watched else 'without'} a page: {open_fds:.0f} descriptors at the end, "
              f"reports at most {late_s:.2f} s late")  # fmt: skip
        if seen:
            sizes, times_s = zip(*seen, strict=True)
            print(f"  {len(seen)} answers of at most {max(sizes)} bytes in {max(times_s):.2f} s")


if __name__ == "__main__":
    main()
