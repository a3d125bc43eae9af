"""Tests that only known hosts are served, over HTTP and WebSocket (DNS rebinding); probes may use any host."""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlsplit

import pytest

from tests.patience import patient
from tests.stack import Process, Stack
from tests.web.clients import Answered, ask
from web.asgi.hosts import EXEMPT_PATHS

STRANGE = [
    "evil.test",
    "127.0.0.1.evil.test",
    "localhost.evil.test",
    "10.1.2.3",
    "a b",
    "x" * 300,
    "",
    "[::1",
    "user@localhost",
]


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: no test here changes a row."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start a web process as `up` does, with additional names."""
    return stack.start_web(allowed_hosts="chat.example.org, .wild.example", domain="naru.example")


def handshake(url: str, host: str) -> int:
    """Open the page's socket with this host, as a page on it would; return the HTTP status."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patient(10))
    headers = {
        "Host": host,
        "Origin": f"http://{host}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "streamlit",
    }
    connection.request("GET", "/_stcore/stream", headers=headers)
    answer = connection.getresponse()
    answer.close()
    connection.close()
    return answer.status


@pytest.mark.parametrize("host", STRANGE)
def test_unknown_host_is_refused(web: Process, host: str) -> None:
    for path in ("/", "/early.js", "/_stcore/host-config", "/static/x.js", "/api/conversations/x/events"):
        assert ask(web.url, path, host=host).status in {400, 421}, path  # 400: uvicorn rejects the header
    if " " not in host:
        assert handshake(web.url, host) in {400, 403, 421}


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "chat.example.org", "wild.example", "a.b.wild.example", "naru.example"]
)
def test_known_host_is_served(web: Process, host: str) -> None:
    for name in (host, f"{host}:8501", host.upper()):
        assert ask(web.url, "/", host=name).status == 200, name
    assert handshake(web.url, host) == 101


def test_doubled_host_is_refused(web: Process) -> None:
    connection = http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=patient(10))
    connection.putrequest("GET", "/", skip_host=True)
    for host in ("localhost", "evil.test"):
        connection.putheader("Host", host)
    connection.endheaders()
    assert connection.getresponse().status in {400, 403, 421}
    connection.close()


@pytest.mark.parametrize("path", sorted(EXEMPT_PATHS))
def test_probes_and_prometheus_may_use_any_host(web: Process, path: str) -> None:
    for host in ("10.42.0.17:8501", "web:8501", "web.naru.svc.cluster.local"):
        answer = ask(web.url, path, host=host)
        assert answer.status == 200
        assert "set-cookie" not in answer.headers or "naru" not in answer.headers["set-cookie"]


@pytest.mark.parametrize(("language", "words"), [("ko-KR,ko;q=0.9", "관리자"), ("fr, en;q=0.5", "run this Naru")])
def test_refusal_names_the_setting(web: Process, language: str, words: str) -> None:
    answer: Answered = ask(web.url, "/", host="evil.test", accept="text/html", accept_language=language)
    assert answer.status == 421
    assert "NARU_ALLOWED_HOSTS=evil.test" in answer.body
    assert words in answer.body
    assert "naru_browser" not in answer.headers.get("set-cookie", "")
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    data = ask(web.url, "/", host="evil.test").data
    assert data["error"] == "unknown_host"
    assert "NARU_ALLOWED_HOSTS=evil.test" in data["message"]


def test_refusals_are_counted_and_rarely_logged(web: Process) -> None:
    def counted() -> float:
        found = re.search(r"^naru_refused_hosts_total (\S+)$", ask(web.url, "/metrics").body, re.MULTILINE)
        assert found
        return float(found[1])

    before = counted()
    for _ in range(50):
        ask(web.url, "/", host="evil.test")
    assert counted() - before == 50
    lines = [json.loads(line) for line in web.log_text().splitlines() if "host refused" in line]
    assert 1 <= len(lines) <= 3, "one line a minute"


def test_server_on_all_addresses_rejects_unknown_names(stack: Stack) -> None:
    """A server behind a published port cannot know its addresses, and DNS rebinding needs a name."""
    web = stack.start_web(host="0.0.0.0", open_to_anyone=True)
    url = web.url
    assert [ask(url, "/", host=host).status for host in ("192.0.2.7", "[2001:db8::1]:80", "evil.test")] == [
        200,
        200,
        421,
    ]
