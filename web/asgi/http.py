"""uvicorn's HTTP protocol in C, with the bounds that it lacks: on a head's bytes, on time, and on connections.

A head without an end would fill the memory, and a client that sends a byte now and then would hold its connection for
good. A proxy in front has bounds of its own; not everyone has one.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared import metrics
from web.asgi.patience import Patience
from web.runtime import current_runtime

#: Request line and headers together; as much as uvicorn's other protocol allows.
LONGEST_HEAD_BYTES = 64 * 1024


class BoundedHttp(Patience, HttpToolsProtocol):
    """Refuses a head that is too long, a request that takes too long to arrive, and one connection too many.

    An answer takes as long as the app makes it: neither a stream of events nor a WebSocket is cut here.
    """

    #: Connections without a request, the longest first: the first to go when there are too many connections.
    _without_request: ClassVar[dict[BoundedHttp, None]] = {}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._settings = current_runtime().settings
        self._is_in_head, self._head_bytes = True, 0
        self._send_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: its head is due."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.connections and not self._make_room():
            self.refuse(503, "full", "The server has too many connections. Try again in a moment.")
            return
        self._await_request()
        self._expect_by(self._settings.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._head_bytes += len(data)  # with what came of the body in one piece: no route of ours takes so much
            if self._head_bytes > LONGEST_HEAD_BYTES:
                self.send_400_response("The request's headers are too long.")
                return
            if self._send_timer is None:
                self._expect_by(self._settings.head_seconds)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_in_head, self._head_bytes = True, 0
        if self._send_timer is None:  # it came in one piece with the request before
            self._expect_by(self._settings.head_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole; its body is due."""
        self._is_in_head = False
        self._expect_by(self._settings.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is here."""
        self._without_request.pop(self, None)
        self._expect_by(None)
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered, and the connection may carry the next one."""
        super().on_response_complete()
        if not self.pipeline:
            self._await_request()

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's from now on.

        Whoever asks for that while an answer is under way goes: its app would not hear that the client has left.
        """
        is_answering = bool(self.cycle) and not self.cycle.response_complete
        if is_answering or self.pipeline or self.flow.write_paused:
            self.transport.abort()
            return
        self._release()
        super().handle_websocket_upgrade()

    def refuse(self, status: int, reason: str, sentence: str) -> None:
        """Answer with a sentence, unless an answer has begun, and close."""
        self._release()
        if self.transport.is_closing():
            return
        metrics.CONNECTIONS_CLOSED.labels(reason).inc()
        if not self.cycle or self.cycle.response_complete:
            body = sentence.encode()
            phrase = {408: "Request Timeout", 503: "Service Unavailable"}[status]
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
            self.transport.write(f"{head}retry-after: 5\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()

    def _await_request(self) -> None:
        self._without_request.pop(self, None)
        self._without_request[self] = None

    def _expect_by(self, seconds: float | None) -> None:
        """Give the client this long for what is due; None: nothing is."""
        if self._send_timer is not None:
            self._send_timer.cancel()
        self._send_timer = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _release(self) -> None:
        self._without_request.pop(self, None)
        self._expect_by(None)

    def _late(self) -> None:
        self._send_timer = None
        self.refuse(408, "late", "The request took too long to arrive.")

    def _make_room(self) -> bool:
        """End the connection that has waited longest without a request: a person's request is there at once."""
        for oldest in self._without_request:
            oldest.refuse(503, "full", "The server has too many connections. Try again in a moment.")
            return True
        return False
