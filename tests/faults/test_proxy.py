"""Tests of the proxy: the effect of each kind of harm on both ends of a connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import RETRANSMISSION_SECONDS, Lines, Proxy, Trap
from tests.patience import patient


class Echo:
    """A server that echoes what it receives, and records it."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.heard = b""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1000):
                    self.heard += data
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Yield the event loop of the proxies."""
    made = Lines()
    yield made
    made.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Yield an echo server."""
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def proxy(lines: Lines, echo: Echo) -> Proxy:
    """Return a proxy in front of the echo server."""
    return lines.proxy(echo.port)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """Yield a connection through the proxy that has already carried data."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=patient(2)) as made:
        assert_echoes(made, b"hello")
        yield made


def assert_echoes(client: socket.socket, words: bytes) -> None:
    client.sendall(words)
    assert client.recv(100) == words


def test_proxy_holds_bytes_in_a_black_hole(proxy: Proxy, client: socket.socket) -> None:
    proxy.black_hole()
    client.sendall(b"into the dark")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    proxy.pass_all()
    client.settimeout(patient(2))
    assert client.recv(100) == b"into the dark"


def test_proxy_resets_one_connection(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=patient(2)) as again:
        assert_echoes(again, b"again")


def test_proxy_delays_by_the_given_time(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(delay_seconds=0.1)
    began = time.monotonic()
    assert_echoes(client, b"slow")
    assert time.monotonic() - began >= 0.2  # there and back


def test_lost_piece_arrives_later(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(loss=1.0)
    began = time.monotonic()
    assert_echoes(client, b"lost")
    assert time.monotonic() - began >= 2 * RETRANSMISSION_SECONDS


def test_half_close_ends_one_direction_only(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.half_close()
    assert client.recv(100) == b""
    client.sendall(b"still heard")
    limit = time.monotonic() + patient(2)
    while b"still heard" not in echo.heard and time.monotonic() < limit:
        time.sleep(0.01)
    assert b"still heard" in echo.heard


def test_proxy_cuts_after_a_number_of_bytes(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(cut_after=3)
    client.sendall(b"abcdef")
    assert client.recv(100) == b"abc"
    with pytest.raises(ConnectionResetError):
        client.recv(100)


def test_forgotten_connection_looks_open_to_the_client_only(proxy: Proxy, client: socket.socket) -> None:
    proxy.forget()
    client.sendall(b"anybody?")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(100)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=patient(2)) as again:
        assert_echoes(again, b"new ones pass")


@pytest.mark.parametrize("forward", [True, False])
def test_proxy_trap_fires_only_after_arming(proxy: Proxy, client: socket.socket, echo: Echo, *, forward: bool) -> None:
    done: list[str] = []
    trap = Trap(b"COMMIT", armed=b"INSERT", forward=forward, action=lambda: done.append("sprung"))
    proxy.set(trap=trap)
    assert_echoes(client, b"COMMIT")
    assert_echoes(client, b"INSERT")
    client.sendall(b"COMMIT it")
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    assert trap.sprung.wait(patient(2))
    assert done == ["sprung"]
    assert (b"COMMIT it" in echo.heard) is forward
