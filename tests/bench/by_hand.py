"""A minimal reader of a streamed reply: a socket, HTTP chunks, server-sent events and JSON, nothing else.

No Python client can do the same for less CPU. It trusts the server: it handles no errors and has no limits.
"""

from __future__ import annotations

import asyncio
import json
from time import time_ns
from typing import cast
from urllib.parse import urlsplit

#: The arrival time of bytes, in ns, and the text in them.
Piece = tuple[int, str]


class HandReader(asyncio.Protocol):
    """One request and its reply; the future `ended` is done after the last chunk."""

    def __init__(self, request: bytes) -> None:
        self.pieces: list[Piece] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._rest = request, b""
        self._in_head = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        cast("asyncio.Transport", transport).write(self._request)  # uvloop's is no subclass of asyncio's

    def data_received(self, data: bytes) -> None:
        """Record each token with its arrival time."""
        now, data = time_ns(), self._rest + data
        if self._in_head:
            _, mark, data = data.partition(b"\r\n\r\n")
            self._in_head = not mark
        position = 0
        while (line_end := data.find(b"\r\n", position)) > 0:
            size = int(data[position:line_end], 16)
            end = line_end + 2 + size
            if len(data) < end + 2:
                break
            if size == 0 and not self.ended.done():
                self.ended.set_result(None)
            self._understand(now, data[line_end + 2 : end])
            position = end + 2
        self._rest = data[position:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail `ended` if the connection closes before the last chunk."""
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionError("the reply ended early"))

    def _understand(self, now: int, events: bytes) -> None:
        for event in events.split(b"\n\n"):
            if event.startswith(b"data: {"):
                choices = json.loads(event[6:])["choices"]
                if choices and (text := choices[0]["delta"].get("content")):
                    self.pieces.append((now, text))


async def ask(url: str, message: str) -> list[Piece]:
    """Ask once, on a new connection."""
    place = urlsplit(url)
    body = json.dumps({"model": "simulator", "stream": True, "messages": [{"role": "user", "content": message}]})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body.encode())}\r\n\r\n"
    )
    reader = HandReader(f"{head}{body}".encode())
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: reader, place.hostname or "", place.port or 0)
    try:
        await reader.ended
    finally:
        transport.close()
    return reader.pieces
