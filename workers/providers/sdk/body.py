"""The bytes of one reply as they come, with as few steps between the network and us as there can be.

The SDK's client reads through aiohttp and hands its pieces on through five layers of iterators. For a body that needs
no decoding we ask aiohttp's own reader, which holds what has come: `take` empties it in one go. Its public way to do
so resumes, for each piece, a connection that was not paused, and parses nothing once more: a sixth of all that a token
costs in a worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import httpx2


class Body:
    """Any reply's bytes, decoded by the SDK's client where they are encoded."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece, never empty. Raises the transport's errors."""
        return await self._pieces.__anext__()

    def take(self) -> bytes:
        """What is here without waiting; empty when nothing is, and of a body that is decoded on its way."""
        return b""


class _Plain(Body):
    """A body that comes as it is, read from aiohttp's `StreamReader`."""

    def __init__(self, content: Any) -> None:
        self._content = content

    async def __anext__(self) -> bytes:
        if piece := await self._content.readany():
            return bytes(piece)
        raise StopAsyncIteration

    def take(self) -> bytes:
        content = self._content
        waiting = content._buffer  # noqa: SLF001 - as is all below
        if not waiting:
            return b""
        piece = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        waiting.clear()
        content._size -= len(piece)  # noqa: SLF001
        content._cursor += len(piece)  # noqa: SLF001
        if splits := content._http_chunk_splits:  # noqa: SLF001
            splits.clear()
        if content._protocol._reading_paused:  # noqa: SLF001
            content._protocol.resume_reading()  # noqa: SLF001
        return bytes(piece)


def body_of(response: httpx2.Response) -> Body:
    """The body of a reply that has begun."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return Body(response.aiter_bytes())
    content = _content_of(response)
    return Body(response.aiter_raw()) if content is None else _Plain(content)


#: What `_Plain.take` uses of a `StreamReader`, and of its protocol.
_USED = ("readany", "_buffer", "_size", "_cursor", "_http_chunk_splits")


def _content_of(response: httpx2.Response) -> Any:
    """aiohttp's reader under the SDK's layers; None where they are others than those we know."""
    stream = getattr(response.stream, "_stream", None)
    content = getattr(getattr(stream, "_aiohttp_response", None), "content", None)
    protocol = getattr(content, "_protocol", None)
    is_known = all(hasattr(content, name) for name in _USED) and hasattr(protocol, "_reading_paused")
    return content if is_known else None
