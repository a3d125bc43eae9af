"""Tests of who may read and stop an answer, by owner, cookie and site; and of headers, health and metrics."""

from __future__ import annotations

import http.client
import json
import re
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.patience import patient
from tests.stack import Process, Stack, wait_until
from tests.web.clients import ask, browser
from tests.web.conftest import Look
from tests.web.fake_worker import FakeWorker
from web.asgi.cookies import LEGACY_NAME

PAGE = {"accept": "text/html"}


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack among these tests."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the web process."""
    return stack.start_web()


def test_another_owner_is_refused_on_each_route(stack: Stack, web: Process, fake_worker: FakeWorker) -> None:
    owner, cookie = browser(stack)
    _, stranger = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    looking = ask(web.url, f"/api/conversations/{conversation_id}/events", cookie=stranger)
    stopping = ask(web.url, f"/api/requests/{request_id}/stop", method="POST", cookie=stranger, x_naru="1")
    for refused in (looking, stopping):
        assert (refused.status, refused.data["error"]) == (404, "not_found")
    nobodys = ask(web.url, f"/api/requests/{uuid4()}/stop", method="POST", cookie=stranger, x_naru="1")
    assert nobodys.body == stopping.body, "another owner's request looks like an unknown one"
    unknown = ask(web.url, f"/api/conversations/{conversation_id}/events")
    assert (unknown.status, unknown.data["error"]) == (401, "no_identity")
    mine = ask(web.url, f"/api/requests/{request_id}/stop", method="POST", cookie=cookie, x_naru="1")
    assert (mine.status, mine.data) == (200, {"status": "cancelled"})
    again = ask(web.url, f"/api/requests/{request_id}/stop", method="POST", cookie=cookie, x_naru="1")
    assert (again.status, again.data) == (200, {"status": "cancelled"})


def test_another_site_cannot_stop_or_read(stack: Stack, web: Process, fake_worker: FakeWorker) -> None:
    owner, cookie = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    path, own = f"/api/requests/{request_id}/stop", web.url
    for headers in (
        {"origin": "https://evil.example", "x_naru": "1"},
        {"origin": "null", "x_naru": "1"},
        {"origin": own, "sec_fetch_site": "cross-site", "x_naru": "1"},
        {"origin": own.replace("127.0.0.1", "localhost"), "sec_fetch_site": "same-site", "x_naru": "1"},
        {"origin": own},
    ):
        assert ask(web.url, path, method="POST", cookie=cookie, **headers).status == 403, headers
    looking = ask(web.url, f"/api/conversations/{conversation_id}/events", cookie=cookie, sec_fetch_site="cross-site")
    assert looking.status == 403
    allowed = {"origin": own, "sec_fetch_site": "same-origin", "x_naru": "1"}
    assert ask(web.url, path, method="POST", cookie=cookie, **allowed).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:1", "null"])
def test_server_refuses_a_websocket_of_another_site(web: Process, origin: str) -> None:
    """Streamlit alone would accept the second origin."""
    assert _handshake(web.url, origin) == 403
    assert _handshake(web.url, web.url) == 101


def test_refused_access_is_logged(stack: Stack, web: Process, fake_worker: FakeWorker) -> None:
    (owner, cookie), (_, stranger) = browser(stack), browser(stack)
    _, request_id = fake_worker.question(owner)
    path = f"/api/requests/{request_id}/stop"
    ask(web.url, path, method="POST", Cookie=stranger, X_Naru="1")
    ask(web.url, path, method="POST", Cookie=stranger, X_Naru="1", Origin="https://evil.example")
    _handshake(web.url, "https://evil.example")
    assert ask(web.url, path, method="POST", Cookie=cookie, X_Naru="1").status == 200
    found = [line for line in map(json.loads, web.log_text().splitlines()) if line["message"] == "refused"]
    ours = {(line["error_code"], line["path"]) for line in found if line["client"] == "127.0.0.1"}
    assert {("not_found", path), ("foreign_origin", path), ("foreign_origin", "/_stcore/stream")} <= ours


def _handshake(url: str, origin: str) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patient(5))
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol": "streamlit",
        "Origin": origin,
    }
    connection.request("GET", "/_stcore/stream", headers=headers)
    answer = connection.getresponse()
    answer.close()
    connection.close()
    return answer.status


def test_malformed_ids_get_a_sentence(stack: Stack, web: Process) -> None:
    _, cookie = browser(stack)
    for method, path in (("GET", "/api/conversations/x'y/events"), ("POST", "/api/requests/0/stop")):
        answer = ask(web.url, path, method=method, cookie=cookie, x_naru="1")
        assert (answer.status, answer.data["error"]) == (400, "malformed_id")
        assert answer.data["message"].endswith(".")


def test_every_answer_has_the_security_headers(stack: Stack, web: Process) -> None:
    for path in ("/", "/healthz", "/no/such/page", "/_stcore/health", "/api/requests/x/stop"):
        headers = ask(web.url, path).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert "frame-ancestors 'self'" in headers["content-security-policy"], path
        assert "'unsafe-eval'" not in headers["content-security-policy"]
        assert "object-src 'none'; base-uri 'none'" in headers["content-security-policy"], path
        assert headers["referrer-policy"] == "same-origin", path
        assert "server" not in headers


def test_tls_sets_hsts_and_secure_cookies(stack: Stack, web: Process) -> None:
    assert "strict-transport-security" not in ask(web.url, "/").headers
    cookies = []
    for path in ("/", "/healthz", "/_stcore/health"):
        headers = ask(web.url, path, x_forwarded_proto="https", **PAGE).headers
        assert headers["strict-transport-security"] == f"max-age={stack.settings.hsts_seconds}", path
        cookies += [value for name, value in headers.items() if name == "set-cookie"]
    assert len(cookies) == 2, "ours and Streamlit's, to which Streamlit adds no Secure"
    assert [cookie.count("; Secure") for cookie in cookies] == [1, 1]


def test_event_stream_is_neither_cached_nor_buffered(stack: Stack, web: Process, look: Look) -> None:
    _, cookie = browser(stack)
    connection = http.client.HTTPConnection(urlsplit(web.url).netloc, timeout=patient(5))
    headers = {"Cookie": cookie, "Accept-Encoding": "gzip"}
    connection.request("GET", f"/api/conversations/{uuid4()}/events", headers=headers)
    answer = connection.getresponse()
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["content-encoding"] is None
    answer.close()
    connection.close()


def test_health_readiness_and_metrics_are_served(web: Process) -> None:
    assert ask(web.url, "/healthz").data == {"status": "ok"}
    ready = ask(web.url, "/readyz").data
    assert (ready["status"], ready["postgres"]["ok"], ready["redis"]["ok"]) == ("ok", True, True)
    assert ask(web.url, "/metrics").headers["content-type"].startswith("text/plain")
    wait_until(lambda: "chatbot_active_sessions 0.0" in ask(web.url, "/metrics").body, what="no session is active")
    wait_until(lambda: "naru_requests_queued 0.0" in ask(web.url, "/metrics").body, what="no request is queued")


def test_open_conversations_are_counted(stack: Stack, web: Process, look: Look) -> None:
    _, cookie = browser(stack)
    conversation_id = uuid4()
    for _ in range(2):
        look(conversation_id, cookie).open().until(lambda reader: reader.states())
    assert wait_until(
        lambda: "chatbot_active_sessions 1.0" in ask(web.url, "/metrics").body, what="only this conversation is open"
    )


def test_metrics_count_returned_cookies(stack: Stack, web: Process) -> None:
    """On a page, no cookie counts as new and a forged one as refused. On its socket, no cookie counts as missing."""

    def counted(at: str, what: str) -> float:
        body = ask(web.url, "/metrics").body
        found = re.search(rf'^naru_browser_cookies_total{{at="{at}",what="{what}"}} (\S+)$', body, re.MULTILINE)
        assert found, "the counter is exported from zero"
        return float(found[1])

    _, cookie = browser(stack)
    before = {each: counted(*each) for each in KINDS}
    for value in (None, cookie, f"{LEGACY_NAME}=forged", f"{LEGACY_NAME}=forged"):
        ask(web.url, "/", **PAGE, **({"cookie": value} if value else {}))
    ask(web.url, "/healthz", cookie=f"{LEGACY_NAME}=forged")
    assert _handshake(web.url, web.url) == 101
    grown = {each: counted(*each) - before[each] for each in KINDS}
    assert grown == {
        ("page", "new"): 1,
        ("page", "good"): 1,
        ("page", "refused"): 2,
        ("socket", "good"): 0,
        ("socket", "refused"): 0,
        ("socket", "missing"): 1,
    }


KINDS = [("page", "new"), ("page", "good"), ("page", "refused")]
KINDS += [("socket", "good"), ("socket", "refused"), ("socket", "missing")]
