"""Abort the connection of a client that reads nothing for too long.

Otherwise such a client would hold its connection, and everything waiting for it, forever. Closing is not enough: a
close waits until the client has read the whole buffer.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Iterable
from typing import Any

from shared import metrics
from web.runtime import current_runtime


class Patience:
    """A mixin that adds the limit to one of uvicorn's protocols. List it before the protocol."""

    loop: AbstractEventLoop
    transport: Transport

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stalled_seconds = current_runtime().settings.stalled_seconds
        self._take_timer: TimerHandle | None = None

    def pause_writing(self) -> None:
        """Start the timer: the client reads more slowly than we send."""
        super().pause_writing()  # type: ignore[misc]
        self.expect_taken()

    def resume_writing(self) -> None:
        """Stop the timer: the client has read nearly everything."""
        super().resume_writing()  # type: ignore[misc]
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_waiting()
        super().connection_lost(exc)  # type: ignore[misc]

    def expect_taken(self) -> None:
        """Give the client `stalled_seconds` to read the buffer."""
        if self._take_timer is None:
            self._take_timer = self.loop.call_later(self._stalled_seconds, self._stalled)

    def _stop_waiting(self) -> None:
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None

    def _stalled(self) -> None:
        self._take_timer = None
        metrics.CONNECTIONS_CLOSED.labels("stalled").inc()
        self.transport.abort()


def watch_closes(connections: Iterable[object]) -> None:
    """Abort closing connections that never finish. Call this every few seconds."""
    for each in connections:
        if isinstance(each, Patience) and each.transport.is_closing():
            each.expect_taken()
