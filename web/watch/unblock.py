"""End a read that is blocked in Redis, so that a newly followed stream is read at once.

Gain: without it a new stream waits for the read under way to return, up to 0.4 s.
Risk: it needs the command CLIENT UNBLOCK. Where the server forbids it, every read blocks for SHORT_BLOCK_SECONDS only,
which costs more reads. tests/web/test_reader.py fails when a new stream has to wait.
"""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

SHORT_BLOCK_SECONDS = 0.02
_RETRY_SECONDS = 0.001
_NOT_READING = -1


class BlockedRead:
    """The read of one connection. The reader calls `begin` and `end` around it; `interrupt` makes it return."""

    def __init__(self, control: Redis, *, block_seconds: float) -> None:
        """`control` is another connection to the same server; a read blocks for `block_seconds` at most."""
        self._control = control
        #: The id of the connection that reads, or 0 while there is none.
        self.client_id = 0
        self._block_seconds = block_seconds
        #: The number of interrupts, now and when the read under way began.
        self._interrupts = 0
        self._covered = _NOT_READING
        self._task: asyncio.Task[None] | None = None

    @property
    def milliseconds(self) -> int:
        """The longest time for a read to block."""
        return int(self._block_seconds * 1000)

    @property
    def is_current(self) -> bool:
        """Whether a read is under way that began after the last `interrupt`."""
        return self._covered == self._interrupts

    def begin(self) -> None:
        """Record that a read begins; it includes every stream followed so far."""
        self._covered = self._interrupts

    def end(self) -> None:
        """Record that the read has returned."""
        self._covered = _NOT_READING

    def interrupt(self) -> None:
        """Make the read under way return, unless it begins after this call."""
        self._interrupts += 1
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._unblock())

    def close(self) -> None:
        """Stop interrupting."""
        self.end()
        self.client_id = 0
        if self._task is not None:
            self._task.cancel()

    async def _unblock(self) -> None:
        # Repeated, because Redis may get the command before the read that it should end.
        while self.client_id and self._covered not in (_NOT_READING, self._interrupts):
            try:
                await self._control.client_unblock(self.client_id)
            except ResponseError:
                self._block_seconds = SHORT_BLOCK_SECONDS
                return
            except (TimeoutError, RedisError, OSError):
                return
            await asyncio.sleep(_RETRY_SECONDS)
