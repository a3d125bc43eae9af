"""How often one client may do something, and how many things it may hold open, counted in this process's memory.

Several web processes count apart from each other, so together they allow a multiple.
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
#: Far less than any use's share of the minute; sums of those shares are not exact.
_ROUNDING_SECONDS = 1e-6


class RateLimit:
    """A token bucket for each client: `per_minute` uses at once, refilled evenly within a minute; 0 allows any number.

    For any thread. Beyond MOST_CLIENTS clients, the one that came least recently is forgotten and begins with a full
    bucket again.
    """

    def __init__(self, per_minute: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_use = _MINUTE / per_minute if per_minute else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        #: When each client's bucket will be full, the least recent client first.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, client: str) -> float:
        """Count one use and return 0.0; or, if there is none left, return the seconds until there is one."""
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
        """Return the limit that forbids one more, as shared/metrics.py names it; None where none does."""
        if 0 < self._per_owner <= self._of_owner[owner]:
            return "streams_per_owner"
        if 0 < self._per_address <= self._of_address[client]:
            return "streams_per_address"
        if 0 < self._in_all <= self.number:
            return "streams"
        return None

    def enter(self, owner: Owner, client: str) -> None:
        """One more is open."""
        self._of_owner[owner] += 1
        self._of_address[client] += 1
        self.number += 1

    def leave(self, owner: Owner, client: str) -> None:
        """One of them is closed."""
        _count_down(self._of_owner, owner)
        _count_down(self._of_address, client)
        self.number -= 1


def _count_down(counted: Counter[_Key], key: _Key) -> None:
    counted[key] -= 1
    if not counted[key]:
        del counted[key]


#: An attack writes one line a minute for each limit, not one for each refusal.
_reports = RateLimit(1)


def report_over_limit(limit: str, client: str) -> None:
    """Count a refusal, and log that `limit` is reached, at most once a minute."""
    metrics.OVER_LIMIT.labels(limit).inc()
    if not _reports.take(limit):
        # Where many people are refused by a limit of one address, that address is often a proxy's.
        log.warning("over a limit", extra={"limit": limit, "client": client})
