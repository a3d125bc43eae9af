"""Server-sent events as bytes: the four events of a conversation and the comments between them.

Only how they are written; when each is sent is decided in `viewer.py`.
"""

from __future__ import annotations

from json import JSONEncoder
from json.encoder import encode_basestring
from typing import Any, NamedTuple
from uuid import UUID

_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

#: How soon a browser that lost its connection tries again.
RETRY = b"retry: 1000\n\n"
KEEP_ALIVE = b": keep-alive\n\n"


class Cursor(NamedTuple):
    """How far one browser has got: it has the attempt's text up to `offset`, in code points."""

    request_id: UUID
    attempt: int
    offset: int


def parse_cursor(event_id: str | None) -> Cursor | None:
    """The cursor in an event's id; None for anything that is not one of ours."""
    parts = (event_id or "").split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts[1:]):
        return None
    try:
        return Cursor(UUID(parts[0]), int(parts[1]), int(parts[2]))
    except ValueError:
        return None


def state(data: dict[str, Any]) -> bytes:
    """What the request is doing."""
    return f"event: state\ndata: {_encode(data)}\n\n".encode()


def delta(request_id: str, attempt: int, offset: int, text: str) -> bytes:
    """Text to add where the browser is."""
    after = offset + len(text)
    return (
        f'id: {request_id}.{attempt}.{after}\nevent: delta\ndata: {{"request_id":"{request_id}",'
        f'"attempt":{attempt},"at":{offset},"next":{after},"text":{encode_basestring(text)}}}\n\n'
    ).encode()


def snapshot(request_id: str, attempt: int, text: str) -> bytes:
    """Text that replaces what the browser has."""
    return (
        f'id: {request_id}.{attempt}.{len(text)}\nevent: snapshot\ndata: {{"request_id":"{request_id}",'
        f'"attempt":{attempt},"next":{len(text)},"text":{encode_basestring(text)}}}\n\n'
    ).encode()


def end(request_id: UUID, status: str, code: str | None) -> bytes:
    """The request has come to its end; the answer is in the history."""
    data = {"request_id": str(request_id), "status": status, "code": code}
    return f"event: end\ndata: {_encode(data)}\n\n".encode()
