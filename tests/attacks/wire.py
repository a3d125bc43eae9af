"""WebSocket frames and Streamlit's messages, built by hand: an attack sends what no client library would."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from urllib.parse import urlsplit

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from streamlit.proto.BackMsg_pb2 import BackMsg

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTINUATION = 0
CUT = 1006
"""RFC 6455's code for a connection that ended without a close frame."""


class Refused(Exception):
    """The handshake failed; the argument is the HTTP status, or 0 without a response."""

    @property
    def status(self) -> int:
        """The HTTP status, or 0."""
        return int(self.args[0])


def frame(payload: bytes, *, opcode: int = BINARY, is_final: bool = True) -> bytes:
    """Return one client frame. Its mask is zero, so the payload is unchanged."""
    first = (0x80 if is_final else 0) | opcode
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + b"\0\0\0\0" + payload


def unfinished_frame(size: int, *, sent: int) -> bytes:
    """Return the head of a frame of `size` bytes, and the first `sent` bytes of its payload."""
    return struct.pack("!BBQ", 0x80 | BINARY, 0x80 | 127, size) + b"\0\0\0\0" + b"x" * sent


@dataclass(slots=True)
class Socket:
    """One WebSocket to the page."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(
        cls, url: str, *, cookie: str = "", address: str = "127.0.0.1", session: str = "", seconds: float = 30.0
    ) -> Socket:
        """Connect from `address`. `session` names the Streamlit session to resume. Raises Refused."""
        parts = urlsplit(url)
        protocols = ["streamlit", *(["unused", session] if session else [])]
        lines = [
            "GET /_stcore/stream HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Sec-WebSocket-Protocol: {', '.join(protocols)}",
            *([f"Cookie: {cookie}"] if cookie else []),
        ]
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0))
                writer.write("\r\n".join([*lines, "", ""]).encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            raise Refused(0) from None
        status = int(head.split(maxsplit=2)[1])
        if status != 101:
            writer.close()
            raise Refused(status)
        return cls(reader, writer)

    def send(self, *frames: bytes) -> None:
        """Write frames without waiting; unsent bytes stay in memory."""
        with contextlib.suppress(OSError):
            self.writer.write(b"".join(frames))

    async def receive(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload; a cut connection yields CLOSE with code 1006."""
        try:
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError):
            return CLOSE, struct.pack("!H", CUT)

    async def code(self) -> int:
        """Read until the server closes; return the close code."""
        while True:
            opcode, payload = await self.receive()
            if opcode == PING:
                self.send(frame(payload, opcode=PONG))
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else 1005

    def abort(self) -> None:
        """Cut the connection, and drop unsent bytes."""
        self.writer.transport.abort()


def kinds() -> dict[str, bytes]:
    """Return one message of each kind that Streamlit's page can send, by name, including kinds of newer versions."""
    found = {}
    for field in BackMsg.DESCRIPTOR.oneofs_by_name["type"].fields:
        for name, message in _filled(BackMsg(), field):
            found[name] = message.SerializeToString()
    return found


def _filled(message: Message, field: FieldDescriptor) -> list[tuple[str, Message]]:
    if field.message_type is None:
        setattr(message, field.name, True)
        return [(field.name, message)]
    getattr(message, field.name).SetInParent()
    inner = [each for one in field.message_type.oneofs if not one.name.startswith("_") for each in one.fields]
    if not inner:
        return [(field.name, message)]
    made = []
    for each in inner:
        copy = type(message)()
        copy.CopyFrom(message)
        getattr(getattr(copy, field.name), each.name).SetInParent()
        made.append((f"{field.name}.{each.name}", copy))
    return made


def rerun(
    *, query: str = "", fragment: str = "", widgets: int = 0, widget_bytes: int = 0, question_bytes: int = 0
) -> bytes:
    """Return a click: a request to run the page, with made-up states of `widgets` widgets and of a composer."""
    message = BackMsg()
    message.rerun_script.query_string = query
    message.rerun_script.fragment_id = fragment
    for number in range(widgets):
        state = message.rerun_script.widget_states.widgets.add()
        state.id, state.string_value = f"$$WIDGET-{number}", "x" * widget_bytes
    if question_bytes:
        state = message.rerun_script.widget_states.widgets.add()
        state.id, state.chat_input_value.data = "$$WIDGET-composer", "x" * question_bytes
    return bytes(message.SerializeToString())
