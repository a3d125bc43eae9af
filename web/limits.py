"""Rate limits and limits on open streams, counted in this process's memory.

Web processes count separately, so several processes together allow a multiple.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TypeVar

from shared import metrics
from shared.people import Owner

log = logging.getLogger(__name__)
_Key = TypeVar("_Key", Owner, str)

#: About 4 MB for each limit. An attacker with more addresses than this has as many allowances anyway.
MOST_CLIENTS = 20_000
_MINUTE = 60.0
#: Tolerates floating-point error; far less than one use's share of the minute.
_ROUNDING_SECONDS = 1e-6


class RateLimit:
    """A token bucket for each client: `per_minute` uses at once, refilled evenly within a minute; 0 allows any number.

    Thread-safe. Beyond MOST_CLIENTS clients, the least recent one is forgotten and starts with a full bucket again.
    """

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_use = _MINUTE / per_minute if per_minute else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        #: When each client's bucket will be full, the least recent client first.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, client: str) -> float:
        """Count one use and return 0.0. If none is left, return the seconds until the next."""
        if not self._seconds_per_use:
            return 0.0
        with self._lock:
            now = self._clock()
            full_at = max(now, self._full_at.pop(client, now))
            wait = full_at + self._seconds_per_use - _MINUTE - now
            is_over = wait > _ROUNDING_SECONDS
            self._full_at[client] = full_at if is_over else full_at + self._seconds_per_use
            if len(self._full_at) > MOST_CLIENTS:
                self._full_at.popitem(last=False)
            return wait if is_over else 0.0


class OpenStreams:
    """Counts the live streams of each owner, each address and this process. For the event loop's thread only."""

    def __init__(self, *, per_owner: int, per_address: int, in_all: int) -> None:
        """0 allows any number."""
        self._per_owner, self._per_address, self._in_all = per_owner, per_address, in_all
        self._of_owner: Counter[Owner] = Counter()
        self._of_address: Counter[str] = Counter()
        self.number = 0

    def reached(self, owner: Owner, client: str) -> str | None:
        """Return the name (shared/metrics.py) of the limit that forbids one more stream, or None."""
        if 0 < self._per_owner <= self._of_owner[owner]:
            return "streams_per_owner"
        if 0 < self._per_address <= self._of_address[client]:
            return "streams_per_address"
        if 0 < self._in_all <= self.number:
            return "streams"
        return None

    def enter(self, owner: Owner, client: str) -> None:
        """Count a stream that was opened."""
        self._of_owner[owner] += 1
        self._of_address[client] += 1
        self.number += 1

    def leave(self, owner: Owner, client: str) -> None:
        """Count a stream that was closed."""
        _count_down(self._of_owner, owner)
        _count_down(self._of_address, client)
        self.number -= 1


def _count_down(counted: Counter[_Key], key: _Key) -> None:
    counted[key] -= 1
    if not counted[key]:
        del counted[key]


#: One line a minute for each limit, however many refusals there are.
_reports = RateLimit(1)


def report_over_limit(limit: str, client: str) -> None:
    """Count a refusal, and log that `limit` was reached at most once a minute."""
    metrics.OVER_LIMIT.labels(limit).inc()
    if not _reports.take(limit):
        # The client helps to tell an attack from a proxy that hides many people behind one address.
        log.warning("over a limit", extra={"limit": limit, "client": client})
