"""A client of the event stream, cheap enough not to disturb the measurement: one raw connection per `EventReader`.

It records bytes with their arrival time, and parses them into a `Reading` only on `look`. The reading checks events as
a browser has to: a delta must begin where the text ends.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time_ns
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from tests.bench.asking import Page

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Event:
    """One event, and the time of its last byte."""

    name: str
    data: dict[str, Any]
    at_ns: int


@dataclass
class Reading:
    """The state of one page. It may outlive a connection; the next connection resumes it."""

    events: list[Event] = field(default_factory=list)
    #: The request and attempt that the page shows, and the text of that attempt.
    shown: tuple[str, int] = ("", 0)
    text: str = ""
    #: Each addition to that text: the time, and the new text.
    grown: list[tuple[int, str]] = field(default_factory=list)
    last_id: str = ""
    gaps: int = 0
    doubled: int = 0

    def take(self, event: Event) -> None:
        """Process one event."""
        self.events.append(event)
        if event.name not in {"delta", "snapshot"}:
            return
        shown = (str(event.data["request_id"]), int(event.data["attempt"]))
        if shown != self.shown:
            self.gaps += event.name == "delta"
            self.shown, self.text, self.grown = shown, "", []
        at = 0 if event.name == "snapshot" else int(event.data["at"])
        self.gaps += at > len(self.text)
        self.doubled += event.name == "delta" and at < len(self.text)
        new = event.data["text"][len(self.text) - at :] if at <= len(self.text) else event.data["text"]
        self.text += new
        self.gaps += len(self.text) < int(event.data["next"])
        self.grown.append((event.at_ns, new))

    @property
    def state(self) -> dict[str, Any]:
        """Return the data of the last `state` event; empty without one."""
        return next((event.data for event in reversed(self.events) if event.name == "state"), {})

    @property
    def is_open(self) -> bool:
        """Return whether the page has received an event."""
        return bool(self.events)

    def ended(self, request_id: object) -> str | None:
        """Return how a request ended; None while it has not."""
        ends = (event.data for event in self.events if event.name == "end")
        return next((str(data["status"]) for data in ends if data["request_id"] == str(request_id)), None)


class EventReader(asyncio.Protocol):
    """One connection of one page."""

    def __init__(self, request: bytes, reading: Reading) -> None:
        self.reading = reading
        self._request = request
        self._noted: list[tuple[int, bytes]] = []
        self._chunks, self._body = b"", b""
        self._head: bytes | None = None
        self._woken = asyncio.Event()
        self._is_watched = False
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, url: str, page: Page, *, reading: Reading | None = None) -> EventReader:
        """Connect as the page does; with a reading, resume it."""
        at = urlsplit(url)
        assert at.hostname
        assert at.port
        lines = [
            f"GET /api/conversations/{page.conversation_id}/events HTTP/1.1",
            f"Host: {at.netloc}",
            f"Cookie: {page.cookie}",
            "Accept: text/event-stream",
        ]
        if reading is not None and reading.last_id:
            lines.append(f"Last-Event-ID: {reading.last_id}")
        reader = cls(("\r\n".join(lines) + "\r\n\r\n").encode(), reading or Reading())
        await asyncio.get_running_loop().create_connection(lambda: reader, at.hostname, at.port)
        return reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of asyncio's
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Record the bytes and their arrival time, and wake `until`."""
        self._noted.append((time_ns(), data))
        if self._is_watched:
            self._woken.set()

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def look(self) -> Reading:
        """Parse all bytes received so far."""
        noted, self._noted = self._noted, []
        for at_ns, data in noted:
            self._feed(at_ns, data)
        return self.reading

    async def until(self, condition: Callable[[Reading], T | None], *, seconds: float = 60.0) -> T:
        """Wait for a condition on the reading. Raises AssertionError after the limit."""
        self._is_watched = True
        try:
            async with asyncio.timeout(seconds):
                while not (found := condition(self.look())):
                    self._woken.clear()
                    await self._woken.wait()
                return found
        except TimeoutError:
            last = [(event.name, event.data) for event in self.reading.events[-3:]]
            raise AssertionError(f"not seen within {seconds:g} s; head {self._head!r}, last events {last}") from None
        finally:
            self._is_watched = False

    def _feed(self, at_ns: int, data: bytes) -> None:
        self._chunks += data
        if self._head is None:
            head, mark, rest = self._chunks.partition(b"\r\n\r\n")
            if not mark:
                return
            self._head, self._chunks = head, rest
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise AssertionError(f"the event stream was refused: {head!r} {rest!r}")
        *frames, self._body = (self._body + self._unchunked()).split(b"\n\n")
        for frame in frames:
            self._understand(frame.decode(), at_ns)

    def _unchunked(self) -> bytes:
        """Return the complete chunks; the web server sends each write as one chunk."""
        if b"chunked" not in (self._head or b"").lower():
            found, self._chunks = self._chunks, b""
            return found
        parts, position = [], 0
        while (line_end := self._chunks.find(b"\r\n", position)) >= 0:
            begin = line_end + 2
            end = begin + int(self._chunks[position:line_end], 16)
            if len(self._chunks) < end + 2:
                break
            parts.append(self._chunks[begin:end])
            position = end + 2
        self._chunks = self._chunks[position:]
        return b"".join(parts)

    def _understand(self, frame: str, at_ns: int) -> None:
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":") and ": " in line)
        self.reading.last_id = fields.get("id", self.reading.last_id)
        if "event" in fields:
            self.reading.take(Event(fields["event"], json.loads(fields["data"]), at_ns))
