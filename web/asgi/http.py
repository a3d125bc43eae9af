"""uvicorn's httptools protocol, with limits on the size of a head, on time, and on connections.

Without them an endless head would fill the memory, and a client that sends a byte now and then would hold its
connection forever. A proxy in front has such limits, but not everyone has a proxy.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared import metrics
from web.asgi.patience import Patience
from web.runtime import current_runtime

#: Request line and headers together; the limit of uvicorn's h11 protocol.
LONGEST_HEAD_BYTES = 64 * 1024


class BoundedHttp(Patience, HttpToolsProtocol):
    """Refuses heads that are too long, requests that arrive too slowly, and surplus connections.

    Answers are not limited, so event streams and WebSockets may take any time.
    """

    #: Connections without a request, the longest-waiting first. They are closed when there are too many connections.
    _without_request: ClassVar[dict[BoundedHttp, None]] = {}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._settings = current_runtime().settings
        self._is_in_head, self._head_bytes = True, 0
        self._send_timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the head, or refuse the connection."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.connections and not self._make_room():
            self.refuse(503, "full", "The server has too many connections. Try again in a moment.")
            return
        self._await_request()
        self._expect_by(self._settings.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Limit the head, then parse."""
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._head_bytes += len(data)  # includes body bytes in the same chunk; no route of ours takes that many
            if self._head_bytes > LONGEST_HEAD_BYTES:
                self.send_400_response("The request's headers are too long.")
                return
            if self._send_timer is None:
                self._expect_by(self._settings.head_seconds)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Leave the list of idle connections."""
        self._is_in_head, self._head_bytes = True, 0
        if self._send_timer is None:  # it came in the same chunk as the previous request
            self._expect_by(self._settings.head_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the timer for the body."""
        self._is_in_head = False
        self._expect_by(self._settings.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the timer: the request is complete."""
        self._without_request.pop(self, None)
        self._expect_by(None)
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request on this connection."""
        super().on_response_complete()
        if not self.pipeline:
            self._await_request()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol.

        A client that upgrades during an answer is disconnected, because the app would not learn when it leaves.
        """
        is_answering = bool(self.cycle) and not self.cycle.response_complete
        if is_answering or self.pipeline or self.flow.write_paused:
            self.transport.abort()
            return
        self._release()
        super().handle_websocket_upgrade()

    def refuse(self, status: int, reason: str, sentence: str) -> None:
        """Answer with one sentence, unless an answer has begun, and close."""
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
        """Start the timer for the next bytes; None stops it."""
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
        """Close the longest-waiting connection without a request: a browser sends its request at once."""
        for oldest in self._without_request:
            oldest.refuse(503, "full", "The server has too many connections. Try again in a moment.")
            return True
        return False
