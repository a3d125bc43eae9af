"""The bytes of one reply, read straight from aiohttp's buffer.

The SDK's client passes each piece of aiohttp's buffer on through five layers of iterators. `Body.take` empties the
buffer at once, through private names of aiohttp. For each piece, aiohttp's public method also resumes a connection that
was not paused and parses an empty input: a sixth of the cost of a token in a worker.

If aiohttp lacks those names (tests/providers/test_take.py then fails) or the body is encoded, the iterators are used
and `take` returns nothing: slower but correct. See decision 0011.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Self

# Only for types: httpx2 comes with the SDKs, and importing one takes most of a second.
if TYPE_CHECKING:
    import httpx2


class Body:
    """The bytes of any reply; the SDK's client decodes an encoded one."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece, never empty. Raises the transport's errors."""
        return await self._pieces.__anext__()

    def take(self) -> bytes:
        """Return the bytes that have arrived, without waiting. Empty if none have, and for an encoded body."""
        return b""


class _PlainBody(Body):
    """The bytes of a reply without encoding, read from aiohttp's `StreamReader`."""

    def __init__(self, content: Any) -> None:
        self._content = content

    async def __anext__(self) -> bytes:
        if piece := await self._content.readany():
            return bytes(piece)
        raise StopAsyncIteration

    def take(self) -> bytes:
        content = self._content
        waiting = content._buffer
        if not waiting:
            return b""
        piece = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        waiting.clear()
        content._size -= len(piece)
        content._cursor += len(piece)
        if splits := content._http_chunk_splits:
            splits.clear()
        if content._protocol._reading_paused:
            content._protocol.resume_reading()
        return bytes(piece)


def body_of(response: httpx2.Response) -> Body:
    """Return the body of a reply that has begun."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return Body(response.aiter_bytes())
    content = _content_of(response)
    return Body(response.aiter_raw()) if content is None else _PlainBody(content)


#: The attributes of a `StreamReader` that `_PlainBody` uses.
_USED = ("readany", "_buffer", "_size", "_cursor", "_http_chunk_splits")


def _content_of(response: httpx2.Response) -> Any:
    """Return aiohttp's reader from under the SDK's layers; None if the layers are not the expected ones."""
    stream = getattr(response.stream, "_stream", None)
    content = getattr(getattr(stream, "_aiohttp_response", None), "content", None)
    protocol = getattr(content, "_protocol", None)
    is_known = all(hasattr(content, name) for name in _USED) and hasattr(protocol, "_reading_paused")
    return content if is_known else None
