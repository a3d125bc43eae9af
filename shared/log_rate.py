"""Limits the log lines that clients can cause, so that nobody fills the log.

Lines are of one kind when they share logger, message template, error type and code. Each kind may have BURST lines per
PERIOD_SECONDS. Further lines are counted, and the next line of the kind says how many were left out.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

PERIOD_SECONDS = 60.0
#: A failing page logs once or twice per click, and a few lines are enough to find the cause.
BURST = 20
#: Most kinds at once; all others share one kind. A message made of client data would be a new kind each time.
MOST_KINDS = 500

Kind = tuple[str, str, str, str]


@dataclass(slots=True)
class _Count:
    """The lines of one kind in its current period."""

    began: float
    passed: int = 0
    left_out: int = 0


class RateBound(logging.Filter):
    """Lets a limited number of lines of each kind through. `is_bounded` selects the lines that count."""

    def __init__(self, is_bounded: Callable[[logging.LogRecord], bool]) -> None:
        super().__init__()
        self._is_bounded = is_bounded
        self._counts: dict[Kind, _Count] = {}
        self._counting = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is written."""
        if not self._is_bounded(record):
            return True
        now = time.monotonic()
        with self._counting:
            count = self._count_of(_kind_of(record), now)
            if now - count.began >= PERIOD_SECONDS:
                count.began, count.passed = now, 0
            if count.passed >= BURST:
                count.left_out += 1
                return False
            count.passed += 1
            if count.left_out:
                record.left_out, count.left_out = count.left_out, 0
        return True

    def _count_of(self, kind: Kind, now: float) -> _Count:
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            self._forget(now)
        if kind not in self._counts and len(self._counts) >= MOST_KINDS:
            kind = ("", "", "", "")
        return self._counts.setdefault(kind, _Count(now))

    def _forget(self, now: float) -> None:
        """Drop kinds whose period is over and that left nothing out."""
        for kind, count in list(self._counts.items()):
            if now - count.began >= PERIOD_SECONDS and not count.left_out:
                del self._counts[kind]


def _kind_of(record: logging.LogRecord) -> Kind:
    error = record.exc_info[0] if record.exc_info else None
    return record.name, str(record.msg), error.__name__ if error else "", str(getattr(record, "code", ""))
