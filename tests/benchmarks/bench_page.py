"""The live page at nearly 20,000 descriptors: what a look costs, and how late it makes the lab.

`python tests/benchmarks/bench_page.py` needs `ulimit -Hn` of 20000 or more.
"""

import json
import subprocess
import sys
import threading
import time
import urllib.request

RATE = ["--rate", "1000", "--duration", "19", "--report-every", "0.5", "--port", "0", "--json"]


def run(path):
    """Run the leaky lab, with a visitor who asks for `path`; return its lateness and the answers."""
    command = [sys.executable, "-m", "labs.file_leak", "--leaky", *RATE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        first = json.loads(process.stdout.readline())
        seen = []
        if path:
            visitor = threading.Thread(target=visit, args=(first["server_port"], path, seen))
            visitor.start()
        reports = [json.loads(line) for line in process.stdout]
    late_s = [
        each["elapsed_s"] - 0.5 * number
        for number, each in enumerate(
            (each for each in reports if each["event"] == "report"), start=1
        )
    ]
    return max(late_s), reports[-1]["values"]["app_files_open"], seen


def visit(port, path, seen):
    """Follow the run as the page does, until it ends."""
    changes = -1
    try:
        while True:
            told, _, _ = get(port, f"page/run.json?after={changes}")
            if told["ended"]:
                return
            changes = told["changes"]
            seen.append(get(port, path)[1:])
    except OSError:
        return


def get(port, path):
    """Return the document, its size in bytes, and the seconds it took."""
    began_s = time.monotonic()
    with urllib.request.urlopen(f"http://localhost:{port}/{path}", timeout=60) as answer:
        body = answer.read()
    return json.loads(body), len(body), time.monotonic() - began_s


def main():
    """Print the run without a page, with one, and with one whose group is open."""
    paths = {"no page": "", "a page": "page/open.json", "a group": "page/open.json?holders=1"}
    for name, path in paths.items():
        late_s, open_fds, seen = run(path)
        print(f"{name} open: {open_fds:.0f} descriptors at the end, "
              f"reports at most {late_s:.2f} s late")  # fmt: skip
        if seen:
            sizes, times_s = zip(*seen, strict=True)
            print(f"  {len(seen)} answers of at most {max(sizes)} bytes in {max(times_s):.2f} s")


if __name__ == "__main__":
    main()
