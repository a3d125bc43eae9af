"""Write a stream's words straight to its connection: past the middleware, and without waking a task.

Gain: each of eight middleware layers would be one more call for every word of every viewer. With the HTTP parser in C
this took web's share of a core from 0.48 to 0.32 at 300 viewers. Writing in the step that reads a word, instead of in a
task, took the share from 0.40 to 0.37 and the median delay from 66-106 to 47-70 ms (docs/performance.md).
Risk: this relies on three undocumented properties of uvicorn. Its `send` is a bound method, the object it is bound to
has `flow.write_paused`, and `send` writes without suspending while that is False. tests/web/test_following.py fails
when they change. Without `flow`, words take the slower way through a task.
"""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCOPE_KEY = "naru.send"


class DirectSend:
    """The outermost middleware: keeps the server's own `send` in the scope for `DirectBody`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        scope[_SCOPE_KEY] = send
        await self._app(scope, receive, send)


class DirectBody:
    """The body of one streamed response. The caller sends the head through the middleware first."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send: Send = scope.get(_SCOPE_KEY, send)
        flow: Any = getattr(getattr(self._send, "__self__", None), "flow", None)
        self._flow = flow if hasattr(flow, "write_paused") else None

    @property
    def is_writable(self) -> bool:
        """Whether `write` can be used now: the connection takes more bytes without waiting."""
        return self._flow is not None and not self._flow.write_paused

    def write(self, part: bytes) -> None:
        """Write a part at once. Raises what the server raises; only while `is_writable`."""
        try:
            # One step completes `send`, because it waits for nothing but a paused connection.
            next(self._send(_message(part)).__await__())
        except StopIteration:
            return
        raise RuntimeError("the server waits although its connection is not paused")

    async def send(self, part: bytes) -> None:
        """Send a part, and wait while the connection is paused."""
        await self._send(_message(part))

    async def end(self) -> None:
        """End the response."""
        await self._send(_message(b"", more=False))


def _message(part: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": part, "more_body": more}
