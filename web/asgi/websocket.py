"""uvicorn's WebSocket protocol, with limits on frames, on their time, and on queued messages.

Gain: uvicorn parses a whole chunk (up to 256 kB) before it pauses reading, so one packet of small frames fills an
unbounded queue, which is processed even after the client has left: 13 kB stopped a process for 40 s. Risk: this relies
on undocumented names of uvicorn's `WebSocketsSansIOProtocol` (`conn`, `queue`, `handle_events`, `frames`,
`read_paused`). tests/web/test_sockets.py fails when they change.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from shared import metrics
from web.asgi.bucket import Bucket
from web.asgi.patience import Patience
from web.runtime import current_runtime

log = logging.getLogger(__name__)

POLICY_VIOLATION = 1008
#: Scope key: callbacks that run once when the connection has ended, before the app notices.
WHEN_CLOSED = "naru.when_closed"
#: Scope key: a function that closes the socket with 1008. Its argument is the reason, as the metric counts it.
CLOSE = "naru.close"
#: Scope key: a function that returns how many messages are queued for the app.
BACKLOG = "naru.backlog"

#: Parse this many bytes at a time: about 700 of the smallest frames, 5 ms of the event loop.
_SLICE_BYTES = 4096
#: A frame costs one message, plus one for each of this many bytes: 32,000 characters cost up to 17.
_BYTES_PER_MESSAGE = 8192
#: Pause reading at this many queued messages: enough to notice a flood while the first waits its turn.
_MOST_QUEUED = 64
_MOST_QUEUED_BYTES = 64 * 1024
#: After our close frame, read and discard for this long. Closing a socket with unread bytes resets the connection, and
#: the client might never see the reason.
_LINGER_SECONDS = 1.0
_MASK_BYTES = 4
_REASONS = {1009: "size", 1002: "protocol", 1007: "protocol"}


class BoundedWebSocket(Patience, WebSocketsSansIOProtocol):
    """Closes a socket that sends too much, and drops its queue when a socket ends."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        settings = current_runtime().settings
        self._bucket = Bucket(per_second=settings.socket_messages_per_second, burst=settings.socket_message_burst)
        self._patience = settings.socket_frame_seconds
        self._when_closed: list[Callable[[], None]] = []
        self._is_over = False
        #: Bytes received since the last complete frame, and the timer for the rest.
        self._partial_bytes = 0
        self._deadline: TimerHandle | None = None
        self._queued_bytes = self._received_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parse slice by slice, until the socket is closed."""
        for start in range(0, len(data), _SLICE_BYTES):
            if self._is_over:
                return
            piece = data[start : start + _SLICE_BYTES]
            # The handshake arrives here too, as reconstructed by uvicorn's HTTP protocol.
            self._partial_bytes += len(piece) if self.handshake_initiated else 0
            super().data_received(piece)
        self._watch_unfinished()

    def handle_events(self) -> None:
        """Charge each frame to the socket's allowance before the app gets it."""
        for event in self.conn.events:
            if isinstance(event, Frame):
                self._partial_bytes -= _size_on_wire(event)
                if not self._bucket.spend(1 + len(event.data) // _BYTES_PER_MESSAGE):
                    self.close_at_once("flood")
                    return
        super().handle_events()

    def send_receive_event_to_app(self) -> None:
        """Queue a complete message, and pause reading if the queue is long enough."""
        self._queued_bytes += sum(len(each) for each in self.frames)
        super().send_receive_event_to_app()
        is_room_left = self.queue.qsize() < _MOST_QUEUED and self._queued_bytes < _MOST_QUEUED_BYTES
        if is_room_left and not self.close_sent:
            self._read_on()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the app's next message."""
        # The app calls again once the last message may pass, so only that one is outside the queue.
        self._queued_bytes -= self._received_bytes
        self._received_bytes = 0
        if self.queue.empty():
            self._read_on()
        message = await super().receive()
        if message["type"] == "websocket.receive":
            self._received_bytes = len(message.get("bytes") or b"")
            if self._received_bytes >= _MOST_QUEUED_BYTES and not self.read_paused and not self._is_over:
                self.read_paused = True
                self.transport.pause_reading()
        return message

    def close_at_once(self, reason: str) -> None:
        """Close with 1008, count it under `reason`, drop the queue and signal the end to the app."""
        if self._is_over:
            return
        self.conn.fail(POLICY_VIOLATION, reason)
        self._end(POLICY_VIOLATION, reason)

    def handle_parser_exception(self) -> None:
        """Count a frame that the parser refused; it has already written the close frame."""
        if self._is_over:
            return
        code = self.conn.close_sent.code if self.conn.close_sent is not None else 1006
        self._end(code, _REASONS.get(code, "protocol"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, drop the queue and run the callbacks."""
        self._forget_queue()
        self._tell()
        super().connection_lost(exc)

    async def send(self, message: ASGISendEvent) -> None:
        """Send the app's message. After a refused handshake, keep uvicorn from logging an error."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        """Run the app, with functions in the scope to close the socket and to learn of its end."""
        scope = cast("dict[str, Any]", self.scope)
        scope.update({WHEN_CLOSED: self._when_closed, CLOSE: self.close_at_once, BACKLOG: self.queue.qsize})
        await super().run_asgi()

    def handle_close(self, event: Frame) -> None:
        """Drop the queue, because the client closed the socket."""
        self._forget_queue()
        super().handle_close(event)
        self._tell()

    def _end(self, code: int, reason: str) -> None:
        metrics.SOCKETS_CLOSED.labels(reason).inc()
        log.info("socket closed", extra={"reason": reason, "close_code": code})
        self._is_over = self.close_sent = True
        self.stop_keepalive()
        self._forget_queue()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        # Refuse further messages of the app, as if the client had left.
        self.disconnected = True
        self.writable.set()
        self.transport.write(b"".join(self.conn.data_to_send()))
        self._read_on()
        self.close_timer = self.loop.call_later(_LINGER_SECONDS, self.transport.abort)
        self._tell()

    def _read_on(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def _forget_queue(self) -> None:
        self.frames = []
        self._queued_bytes = self._received_bytes = 0
        while not self.queue.empty():
            self.queue.get_nowait()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _tell(self) -> None:
        waiting, self._when_closed[:] = list(self._when_closed), []
        for call in waiting:
            call()

    def _watch_unfinished(self) -> None:
        """Start or stop the timer for the rest of a frame or message."""
        is_unfinished = self._partial_bytes > 0 or bool(self.frames)
        if not is_unfinished and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif is_unfinished and self._deadline is None and not self._is_over:
            self._deadline = self.loop.call_later(self._patience, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        if self.read_paused:  # the rest may have arrived unread
            self._watch_unfinished()
        elif not self.transport.is_closing():
            self.close_at_once("unfinished")


def _size_on_wire(event: Frame) -> int:
    size = len(event.data)
    return size + 2 + _MASK_BYTES + (0 if size < 126 else 2 if size < 1 << 16 else 8)
