"""Tells a stream of events from a reply that is one whole document, and reads the document.

Some servers and gateways answer a streaming request with a whole JSON document: the answer, or an error with status
200. A wrong address answers with a web page. The first byte tells them apart, because the header often lies.
"""

from __future__ import annotations

from collections.abc import Callable

from shared.errors import WrongAddress
from workers.providers.sdk.body import Body
from workers.providers.sdk.events import LONGEST_EVENT_BYTES

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


async def head_of(body: Body, heard: Callable[[], None]) -> bytes:
    """Return the first piece of a reply from its first visible byte on; empty for an empty reply.

    `heard` is called for each piece of white space, with which some servers keep the connection open.
    """
    head = b""
    async for piece in body:
        head += piece
        if _BYTE_ORDER_MARK.startswith(head):
            continue
        head = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
        if head:
            break
        heard()
    return head


def is_document(head: bytes) -> bool:
    """Return whether the reply is a JSON document. Raises WrongAddress for a web page."""
    if head.startswith(b"<"):
        raise WrongAddress
    return head.startswith((b"{", b"["))


async def rest_of(body: Body, head: bytes) -> bytes:
    """Return the whole document that begins with `head`. Raises ValueError for one that is too long."""
    pieces, size = [head], len(head)
    async for piece in body:
        pieces.append(piece)
        size += len(piece)
        if size > LONGEST_EVENT_BYTES:
            raise ValueError("a document without an end")
    return b"".join(pieces)
