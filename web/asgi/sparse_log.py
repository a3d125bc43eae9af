"""One log line a minute for something that a stranger can cause as often as they like."""

from __future__ import annotations

import logging
import time

#: A stranger's requests must not fill the disk; a line a minute still shows when it began and that it goes on.
INTERVAL_SECONDS = 60.0


class SparseLog:
    """Logs an event, then counts it for a minute, then logs it again with the count. For one thread (the loop)."""

    def __init__(self, log: logging.Logger, message: str, *, level: int = logging.WARNING) -> None:
        self._log, self._message, self._level = log, message, level
        self._next_at = 0.0
        self._left_out = 0

    def __call__(self, **extra: object) -> None:
        """The event happened; `extra` describes this one."""
        now = time.monotonic()
        if now < self._next_at:
            self._left_out += 1
            return
        self._log.log(self._level, self._message, extra={**extra, "left_out": self._left_out})
        self._next_at, self._left_out = now + INTERVAL_SECONDS, 0
