"""A Prometheus server of our own on the loopback interface, gone when it is no longer needed."""

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from harness.cli import LOOPBACK
from harness.errors import UsageError

NAME = "prometheus"
INSTALL = (
    "prometheus is not installed: apt install prometheus (Debian, Ubuntu), brew install prometheus "
    "(macOS), or from prometheus.io/download into a folder of PATH"
)
READY_S = 30.0
GRACE_S = 5.0
LOOK_EVERY_S = 0.05
ANSWER_S = 5.0
LEASH = 'folder=$1; shift; "$@" & read -r _; kill $!; wait $!; rm -rf "$folder"'
"""Ends the server when our end of its standard input closes, also because we were killed."""

Alerts = Mapping[tuple[str, str], str]
"""The state of each alert that is active, by its target's variant and its name."""
NO_ALERTS: Alerts = {}


def find() -> str:
    """Return the path of the program. Raises UsageError, which says how to install it."""
    program = shutil.which(NAME)
    if program is None:
        raise UsageError(INSTALL)
    return program


@contextmanager
def running(program: str, config: Path, port: int) -> Iterator[str]:
    """Serve what `config` says on `port` until the block ends; yield the address of its pages.

    What it stores is beside `config`, in a folder that is its own and goes with it.

    Raises:
        UsageError: it does not start; its own words say why.
    """
    folder, log = config.parent, config.with_suffix(".log")
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--log.level=error",
    ]
    with log.open("w", encoding="utf-8") as output:
        leash = subprocess.Popen(
            ["sh", "-c", LEASH, "sh", str(folder), *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://{LOOPBACK}:{port}"
    try:
        _wait_until_ready(url, log)
        yield url
    finally:
        _end(leash)


def _wait_until_ready(url: str, log: Path) -> None:
    deadline_s = time.monotonic() + READY_S
    while _status(f"{url}/-/ready") != 200:
        said = log.read_text(encoding="utf-8").strip()
        if said or time.monotonic() > deadline_s:
            last = said.splitlines()[-1] if said else f"no answer within {READY_S:g} s"
            raise UsageError(f"prometheus does not start: {last}")
        time.sleep(LOOK_EVERY_S)


def _end(leash: subprocess.Popen[bytes]) -> None:
    """Let go of the server and wait for its end, by force if need be."""
    assert leash.stdin is not None
    with suppress(BrokenPipeError):
        leash.stdin.close()
    try:
        leash.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(leash.pid, signal.SIGKILL)
        leash.wait()


def alerts(url: str) -> Alerts:
    """Return the alerts that are pending or firing. Raises UsageError where nobody answers."""
    try:
        with _open(f"{url}/api/v1/alerts") as answer:
            found = json.load(answer)["data"]["alerts"]
    except OSError as error:
        raise UsageError(f"prometheus does not answer any more: {error}") from None
    return {
        (each["labels"].get("variant", ""), each["labels"]["alertname"]): each["state"]
        for each in found
    }


def page(url: str, path: str) -> str:
    """Return the address of a page; Debian's package has the older pages, below /classic."""
    return url + path if _status(url + path) == 200 else f"{url}/classic{path}"


def _status(url: str) -> int | None:
    """Return the HTTP status that `url` answers with, `None` where nobody does."""
    try:
        with _open(url) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return None


def _open(url: str) -> HTTPResponse:
    """Ask without a proxy, which may not know this machine's loopback interface."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer: HTTPResponse = direct.open(url, timeout=ANSWER_S)
    return answer
