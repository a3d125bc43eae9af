"""Log an event that strangers can cause at will, at most once a minute."""

from __future__ import annotations

import logging
import time

#: One line a minute cannot fill the disk, and still shows when the events began and that they continue.
INTERVAL_SECONDS = 60.0


class SparseLog:
    """Logs an event, counts repetitions for a minute, then logs the count. For the event loop's thread only."""

    def __init__(self, log: logging.Logger, message: str, *, level: int = logging.WARNING) -> None:
        self._log, self._message, self._level = log, message, level
        self._next_at = 0.0
        self._left_out = 0

    def __call__(self, **extra: object) -> None:
        """Record one event; `extra` describes it."""
        now = time.monotonic()
        if now < self._next_at:
            self._left_out += 1
            return
        self._log.log(self._level, self._message, extra={**extra, "left_out": self._left_out})
        self._next_at, self._left_out = now + INTERVAL_SECONDS, 0
