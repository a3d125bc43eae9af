"""Events that somebody can cause as often as they like: the first of a minute is recorded, the others are counted."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from sqlalchemy import Engine

from shared import audit
from shared.audit.acting import Acting, who_acts
from shared.audit.kinds import Kind
from shared.errors import Unavailable
from shared.postgres.database import transaction

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
#: Sources (a kind, an actor, an address and a reason) that are told apart in a minute. Those beyond count together.
MOST_SOURCES = 100
_Source = tuple[Kind, Acting, str, str]


@dataclass(slots=True)
class _Window:
    ends_at: float
    times: int = 0


class Repeats:
    """For any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._windows: dict[_Source, _Window] = {}
        self._lock = threading.Lock()

    def record(self, kind: Kind, *, subject: str = "", **detail: str) -> None:
        """Record the event, or count it if there was one from the same source within a minute.

        `detail` is at most one detail, whose values are few. Raises Unavailable.
        """
        ((name, value),) = detail.items() or (("", ""),)
        source: _Source = (kind, who_acts(), name, value)
        with self._lock:
            if source not in self._windows and len(self._windows) >= MOST_SOURCES:
                source = (kind, Acting(), "", "")
            window = self._windows.get(source)
            if window is not None:
                window.times += 1
                return
            self._windows[source] = _Window(time.monotonic() + WINDOW_SECONDS)
        try:
            with transaction(self._engine) as connection:
                audit.record(connection, kind, subject=subject, **detail)
        except Unavailable:
            with self._lock:
                self._windows.pop(source, None)
            raise

    def record_if_possible(self, kind: Kind, *, subject: str = "", **detail: str) -> None:
        """Record the event as `record` does; while the database is away, only log that it was not."""
        try:
            self.record(kind, subject=subject, **detail)
        except Unavailable:
            log.warning("event not recorded", extra={"event": kind.value})

    def flush(self, *, now: float | None = None) -> None:
        """Record the counts of the windows that have ended: `times` is the number of events after the first."""
        moment = time.monotonic() if now is None else now
        with self._lock:
            ended = {source: window for source, window in self._windows.items() if window.ends_at <= moment}
            for source in ended:
                del self._windows[source]
        for (kind, by, name, value), window in ended.items():
            if window.times:
                detail = {name: value} if name else {}
                with audit.acting(by.actor, by.address), transaction(self._engine) as connection:
                    audit.record(connection, kind, times=window.times, **detail)

    def flush_all(self) -> None:
        """Record all counts."""
        self.flush(now=float("inf"))
