"""A token bucket."""

from __future__ import annotations

import time


class Bucket:
    """Holds up to `burst` tokens and regains `per_second` a second. It starts full."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, *, per_second: float, burst: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._tokens, self._at = burst, time.monotonic()

    def spend(self, tokens: float = 1.0) -> bool:
        """Take tokens and return True; if too few are left, take none and return False."""
        self._refill()
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def _refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
