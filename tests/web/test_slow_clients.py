"""Tests of slow clients on a web process without a proxy in front."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from tests.attacks.run import closed_counts
from tests.patience import patient
from tests.stack import Process, Stack, wait_until
from tests.web.clients import ask, browser
from tests.web.conftest import Look
from web.shell.chunks import STREAMLIT

SECONDS = 1
CONNECTIONS = 20
HANDSHAKE = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each test closes its connections."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start a web process that waits one second for a head or a body."""
    return stack.start_web(head_seconds=SECONDS, body_seconds=SECONDS, connections=CONNECTIONS)


@pytest.fixture
def connect(web: Process, opened: ExitStack) -> Connect:
    """Return a function that opens plain connections."""
    return Connect(web.url, opened)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Yield a stack that closes connections after the test."""
    with ExitStack() as stack:
        yield stack


class Connect:
    """Opens connections that send the given bytes."""

    def __init__(self, url: str, opened: ExitStack) -> None:
        self._parts, self._opened = urlsplit(url), opened

    def __call__(self, words: bytes) -> socket.socket:
        """Connect and send these bytes."""
        made = socket.create_connection((self._parts.hostname, self._parts.port or 0), timeout=patient(15))
        self._opened.enter_context(made)
        made.sendall(words)
        return made


def status(connection: socket.socket) -> int:
    """Read until the connection ends; return the status of the answer, or 0 without one."""
    words = b""
    while piece := connection.recv(1000):
        words += piece
    return int(words.split(maxsplit=2)[1]) if words else 0


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        b"\r\n\r\n",
        b"POST /api/requests/x/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc",
    ],
)
def test_incomplete_request_is_ended(connect: Connect, words: bytes) -> None:
    # The request with a body may be answered before the body arrives; then only its connection ends.
    assert status(connect(words)) in {408, 400, 403}


def test_dripping_head_is_ended(connect: Connect) -> None:
    connection = connect(b"GET / HTTP/1.1\r\nX-A: ")
    connection.settimeout(0.2)
    for _ in range(60):
        connection.sendall(b"x")
        with suppress(TimeoutError):
            assert connection.recv(12) == b"HTTP/1.1 408"
            return
    pytest.fail("the connection is still open")


def test_idle_connections_yield_to_a_person(web: Process, connect: Connect) -> None:
    held = [connect(b"GET / HTTP/1.1\r\n") for _ in range(CONNECTIONS + 10)]
    assert ask(web.url, "/healthz").status == 200
    assert status(held[0]) == 503


def test_event_stream_outlives_every_limit(stack: Stack, web: Process, look: Look) -> None:
    reader = look(uuid4(), browser(stack)[1]).open()
    reader.until(lambda each: each.states())
    assert not reader.join(seconds=4 * SECONDS)


def test_upgrade_during_an_answer_ends_its_stream(stack: Stack, opened: ExitStack) -> None:
    """uvicorn alone would pass the connection on, and the stream's app would never learn that its client left."""
    web = stack.start_web(streams_per_owner=1)
    stream = request(f"/api/conversations/{uuid4()}/events", f"Cookie: {browser(stack)[1]}")
    connect = Connect(web.url, opened)
    first = connect(stream)
    assert head_of(first) == b"HTTP/1.1 200"
    assert head_of(connect(stream)) == b"HTTP/1.1 429"
    first.sendall(request("/_stcore/stream", "Connection: Upgrade", "Upgrade: websocket", *HANDSHAKE))
    wait_until(lambda: head_of(connect(stream)) == b"HTTP/1.1 200", what="the first stream has ended")


def test_close_ends_although_the_client_reads_nothing(stack: Stack, opened: ExitStack) -> None:
    web = stack.start_web(head_seconds=SECONDS, stalled_seconds=4 * SECONDS)
    largest = max((STREAMLIT / "static" / "js").iterdir(), key=lambda path: path.stat().st_size)
    connection = Connect(web.url, opened)(request(f"/static/js/{largest.name}"))
    # Web closes because the head does not end, while the client has not read most of the file.
    connection.sendall(b"GET / HTTP/1.1\r\nX-A: ")
    wait_until(lambda: closed_counts(web).get("connections closed: late") == 1, seconds=30, what="closed as late")
    assert "connections closed: stalled" not in closed_counts(web)
    wait_until(lambda: closed_counts(web).get("connections closed: stalled") == 1, seconds=30, what="cut as stalled")


def request(path: str, *headers: str) -> bytes:
    """Return the head of a GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def head_of(connection: socket.socket) -> bytes:
    """Read the answer's HTTP version and status."""
    return connection.recv(12)
