"""How long a client may take nothing of what we send: then its connection is aborted.

Without that bound a client that only acknowledges holds its connection, and what waits for it, for good. A close is no
way out: it waits until the client has taken all that lies in the buffer.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Iterable
from typing import Any

from shared import metrics
from web.runtime import current_runtime


class Patience:
    """The bound, for a protocol of uvicorn's: stands before it among the bases."""

    loop: AbstractEventLoop
    transport: Transport

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._stalled_seconds = current_runtime().settings.stalled_seconds
        self._take_timer: TimerHandle | None = None

    def pause_writing(self) -> None:
        """The client takes less than we send."""
        super().pause_writing()  # type: ignore[misc]
        self.expect_taken()

    def resume_writing(self) -> None:
        """It has taken nearly all of it."""
        super().resume_writing()  # type: ignore[misc]
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_waiting()
        super().connection_lost(exc)  # type: ignore[misc]

    def expect_taken(self) -> None:
        """Wait for the client to take what lies in the buffer."""
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
    """See that each close comes to its end, whoever began it. To be called every few seconds."""
    for each in connections:
        if isinstance(each, Patience) and each.transport.is_closing():
            each.expect_taken()
