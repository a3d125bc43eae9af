"""Format server-sent events: the four events of a conversation, and comments.

`viewer.py` decides when each is sent.
"""

from __future__ import annotations

from json import JSONEncoder
from json.encoder import encode_basestring
from typing import Any, NamedTuple
from uuid import UUID

_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: Milliseconds before a browser reconnects.
RETRY = b"retry: 1000\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


class Cursor(NamedTuple):
    """A browser's position: it has the attempt's text up to `offset`, in code points."""

    request_id: UUID
    attempt: int
    offset: int


def parse_cursor(event_id: str | None) -> Cursor | None:
    """Parse an event's id. Return None for an id that is not ours."""
    parts = (event_id or "").split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[1:]):
        return None
    try:
        return Cursor(UUID(parts[0]), int(parts[1]), int(parts[2]))
    except ValueError:
        return None


def state(data: dict[str, Any]) -> bytes:
    """Format the request's state."""
    return f"event: state\ndata: {_encode(data)}\n\n".encode()


def delta(request_id: str, attempt: int, offset: int, text: str) -> bytes:
    """Format text to append at `offset`."""
    after = offset + len(text)
    return (
        f'id: {request_id}.{attempt}.{after}\nevent: delta\ndata: {{"request_id":"{request_id}",'
        f'"attempt":{attempt},"at":{offset},"next":{after},"text":{encode_basestring(text)}}}\n\n'
    ).encode()


def snapshot(request_id: str, attempt: int, text: str) -> bytes:
    """Format text that replaces all text of the request in the browser."""
    return (
        f'id: {request_id}.{attempt}.{len(text)}\nevent: snapshot\ndata: {{"request_id":"{request_id}",'
        f'"attempt":{attempt},"next":{len(text)},"text":{encode_basestring(text)}}}\n\n'
    ).encode()


def end(request_id: UUID, status: str, code: str | None) -> bytes:
    """Format the end of a request, whose answer is now in the history."""
    data = {"request_id": str(request_id), "status": status, "code": code}
    return f"event: end\ndata: {_encode(data)}\n\n".encode()
