"""uvicorn's WebSocket protocol with the bounds that it lacks: on frames, on their time, and on what waits.

Gain: uvicorn parses a whole chunk (up to 256 kB) before it pauses reading, so one packet of small frames fills an
unbounded queue, which is worked off even after the client has gone: 13 kB stopped a process for 40 s.
Risk: this relies on the names of uvicorn's `WebSocketsSansIOProtocol` (`conn`, `queue`, `handle_events`, `frames`,
`read_paused`), which are not documented. tests/web/test_sockets.py fails when they change.
"""

from __future__ import annotations

import logging
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from shared import metrics
from web.asgi.bucket import Bucket
from web.asgi.patience import Patience
from web.runtime import current_runtime

log = logging.getLogger(__name__)

POLICY_VIOLATION = 1008
#: Scope key: callables that are called once when the connection has ended, before the app can see it.
WHEN_CLOSED = "naru.when_closed"
#: Scope key: closes the socket with 1008; its argument is the reason, as the metric counts it.
CLOSE = "naru.close"
#: Scope key: returns how many messages wait for the app.
BACKLOG = "naru.backlog"

#: The parser is handed this much at a time: about 700 of the smallest frames, 5 ms of the event loop.
_SLICE_BYTES = 4096
#: A frame costs one message, and one more for each of these: a question of 32,000 characters costs up to 17.
_BYTES_PER_MESSAGE = 8192
#: Reading goes on until this waits for the app, so that a flood is seen as one while the first message waits its turn.
_MOST_QUEUED = 64
_MOST_QUEUED_BYTES = 64 * 1024
#: After our close frame we read on for this long and throw it away: a socket that is closed with bytes unread resets
#: the connection, and the client might never see why.
_LINGER_SECONDS = 1.0
_MASK_BYTES = 4
_REASONS = {1009: "size", 1002: "protocol", 1007: "protocol"}


class BoundedWebSocket(Patience, WebSocketsSansIOProtocol):
    """Closes a socket that sends too much, and drops what waits when a socket ends."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        settings = current_runtime().settings
        self._bucket = Bucket(per_second=settings.socket_messages_per_second, burst=settings.socket_message_burst)
        self._patience = settings.socket_frame_seconds
        self._when_closed: list[Callable[[], None]] = []
        self._is_over = False
        #: Bytes that came since the end of the last whole frame, and the timer that waits for the rest.
        self._partial_bytes = 0
        self._deadline: TimerHandle | None = None
        self._queued_bytes = self._received_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Bytes from the client, parsed slice by slice until the socket is closed."""
        for start in range(0, len(data), _SLICE_BYTES):
            if self._is_over:
                return
            piece = data[start : start + _SLICE_BYTES]
            # The handshake comes here too, as uvicorn's HTTP protocol wrote it down again.
            self._partial_bytes += len(piece) if self.handshake_initiated else 0
            super().data_received(piece)
        self._watch_unfinished()

    def handle_events(self) -> None:
        """Let each frame pay before the app gets it."""
        for event in self.conn.events:
            if isinstance(event, Frame):
                self._partial_bytes -= _size_on_wire(event)
                if not self._bucket.spend(1 + len(event.data) // _BYTES_PER_MESSAGE):
                    self.close_at_once("flood")
                    return
        super().handle_events()

    def send_receive_event_to_app(self) -> None:
        """Queue a whole message, and pause reading where enough waits."""
        self._queued_bytes += sum(len(each) for each in self.frames)
        super().send_receive_event_to_app()
        is_room_left = self.queue.qsize() < _MOST_QUEUED and self._queued_bytes < _MOST_QUEUED_BYTES
        if is_room_left and not self.close_sent:
            self._read_on()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the app's next message."""
        # The app comes back when it has let the last one pass: until then that one waits, and no other beside it.
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
        """Close with 1008, count it under `reason`, and let the app see the end and nothing that lies before it."""
        if self._is_over:
            return
        self.conn.fail(POLICY_VIOLATION, reason)
        self._end(POLICY_VIOLATION, reason)

    def handle_parser_exception(self) -> None:
        """The parser refused a frame and has written the close frame."""
        if self._is_over:
            return
        code = self.conn.close_sent.code if self.conn.close_sent is not None else 1006
        self._end(code, _REASONS.get(code, "protocol"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or we have closed."""
        self._forget_queue()
        self._tell()
        super().connection_lost(exc)

    async def send(self, message: ASGISendEvent) -> None:
        """Send the app's message. A refusal is an answer too: uvicorn would log an error after it."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        """Run the app, which may close the socket and ask to be called when it has ended."""
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope.update({WHEN_CLOSED: self._when_closed, CLOSE: self.close_at_once, BACKLOG: self.queue.qsize})
        await super().run_asgi()

    def handle_close(self, event: Frame) -> None:
        """The client says goodbye: what it sent before is not worked off any more."""
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
        # What the app still sends is refused as if the client had gone.
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
        """Begin to wait for the rest of a frame or message, or stop waiting."""
        is_unfinished = self._partial_bytes > 0 or bool(self.frames)
        if not is_unfinished and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif is_unfinished and self._deadline is None and not self._is_over:
            self._deadline = self.loop.call_later(self._patience, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        if self.read_paused:  # the rest may have come long ago: we have not looked
            self._watch_unfinished()
        elif not self.transport.is_closing():
            self.close_at_once("unfinished")


def _size_on_wire(event: Frame) -> int:
    size = len(event.data)
    return size + 2 + _MASK_BYTES + (0 if size < 126 else 2 if size < 1 << 16 else 8)
