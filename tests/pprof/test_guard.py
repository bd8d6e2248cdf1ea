"""Who is let in, and how others are told that they are not."""

import pytest

from harness.ports import is_loopback
from tests.pprof import programs
from tests.pprof.conftest import Server
from tests.pprof.programs import LoopThread


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:6060", "LOCALHOST.", "lab.localhost", "127.8.9.1", "[::1]:1"]
)
def test_loopback_names_and_addresses_are_let_in(host: str) -> None:
    """Every spelling of this machine's own end."""
    assert is_loopback([host])


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "10.0.0.1", "[::2]", "", "[", "127.0.0.1.nip.io"],
)
def test_every_other_host_is_refused(host: str) -> None:
    """A page that made its own name point here (DNS rebinding) gets nothing."""
    assert not is_loopback([host])
    assert not is_loopback([])
    assert not is_loopback(["localhost", "localhost"])


def test_a_foreign_host_is_403(server: Server) -> None:
    """The status, and a text that says which Host it was and what to do."""
    answer = server.get("goroutine", Host="evil.example:6060")
    assert answer.status == 403
    assert "'evil.example:6060'" in answer.text
    assert "--allow-remote" in answer.text
    assert b" 403 " in server.raw("GET / HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_is_allowed(server: Server, method: str) -> None:
    """405, with the methods that are allowed, on pages that exist and others."""
    answer = server.get("goroutine", method=method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert server.get("nothing/here", method=method).status == 405


def test_head_takes_no_profile(server: Server) -> None:
    """The headers of a 600-second profile come at once."""
    answer = server.get("profile?seconds=600", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("goroutine?seconds=0", 400, "above 0, at most 600"),
        ("goroutine?seconds=-1", 400, "seconds='-1'"),
        ("goroutine?seconds=601", 400, "at most 600"),
        ("profile?seconds=99999999999999999999", 400, "at most 600"),
        ("profile?seconds=nan", 400, "seconds='nan'"),
        ("profile?seconds=1e2", 400, "seconds='1e2'"),
        ("profile?seconds=%D9%A3", 400, "above 0"),
        ("profile?seconds=", 400, "above 0"),
        ("goroutine?debug=3", 400, "debug='3'"),
        ("goroutine?debug=x", 400, "1 and 2 are texts"),
        ("goroutine?debug=1&seconds=1", 400, "leave one of them out"),
        ("nothing", 404, "unknown profile 'nothing': there are goroutine, threadcreate, fd"),
        ("nothing/at/all", 404, "see /debug/pprof/"),
        ("ui?profile=nothing", 404, "unknown profile"),
        ("ui?seconds=x", 400, "seconds='x'"),
        ("goroutine?x=" + "y" * 2000, 414, "2000 are the most"),
    ],
)
def test_bad_requests_are_told_why(server: Server, path: str, status: int, said: str) -> None:
    """A status of the 400s and one line of text, which `go tool pprof` prints."""
    answer = server.get(path)
    assert (answer.status, answer.text.count("\n")) == (status, 1)
    assert said in answer.text
    assert answer.headers["X-Go-Pprof"] == "1"


def test_nothing_can_be_smuggled_into_a_page(server: Server, program: LoopThread) -> None:
    """No script but the server's own runs in its pages, and they stand in no frame."""
    program.start(programs.sleeps, "<script>alert(1)</script>")
    for path in ("", "ui", "ui?profile=socket"):
        assert "<script>" not in server.get(path).text
    assert server.get("ui?profile=%3Cscript%3E").headers["Content-Type"].startswith("text/plain")
    policy = server.get("").headers
    assert "script-src 'self'" in policy["Content-Security-Policy"]
    assert policy["X-Frame-Options"] == "DENY"


def test_the_address_without_slash_leads_to_the_index(server: Server) -> None:
    """As in Go."""
    assert b"Location: /debug/pprof/" in server.raw(
        "GET /debug/pprof HTTP/1.0\r\nHost: localhost\r\n\r\n"
    )
