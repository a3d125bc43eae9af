"""Sends a request once more when its connection turned out to be closed before the request was sent.

A server may close a kept connection while the next request takes it. llama.cpp closes each one after its answer, so a
request that waited for that answer meets it. The server has read no such request, and bills none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

#: aiohttp's error for a write to a closed connection. An SDK hides it behind errors of its own.
_CLOSED = "ClientConnectionResetError"
T = TypeVar("T")


async def send_again_if_closed(send: Callable[[], Awaitable[T]]) -> T:
    """Return the reply to `send`, which is called again if its connection was closed. Raises what `send` raises."""
    try:
        return await send()
    except Exception as error:
        if not _was_closed(error):
            raise
    # The event loop has meanwhile noticed every connection that is closed, so this one is open or new.
    return await send()


def _was_closed(error: BaseException | None) -> bool:
    while error is not None:
        if type(error).__name__ == _CLOSED:
            return True
        error = error.__cause__
    return False
