"""Keeps the record of events: seals it, removes what is old, sends it, and counts repeated events.

Web processes do this because they have the key. Each event is recorded where it happens; nothing there waits for this
thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime

from sqlalchemy import Engine, text

from shared import audit, metrics
from shared.audit import marks
from shared.audit.chain import Broken, Link
from shared.audit.events import Filter, everything
from shared.audit.kinds import Kind
from shared.audit.sending import Sender, sender_for
from shared.errors import Unavailable
from shared.keys import keys_in
from shared.postgres.database import transaction
from shared.settings import Settings
from web.repeats import Repeats

log = logging.getLogger(__name__)

#: How often the thread looks for events to send and for counts that are due.
LOOK_SECONDS = 1.0
#: Events that are sent in one transaction, which holds the lock below; Postgres ends one that idles for 5 s.
MOST_SENT = 100
#: One process at a time sends: "naru" on a phone keypad, then 7.
_SENDING = text("SELECT pg_try_advisory_xact_lock(62787)")


class AuditKeeper:
    """The thread of one web process."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self.repeats = Repeats(engine)
        self._purged: Counter[str] = Counter()
        self._day = _today()
        self._has_sealed = False
        self._next_seal = 0.0
        self._sender: Sender | None = None
        self._stopping = threading.Event()
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Record what was counted, and stop the thread; wait up to 5 s."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def count_purged(self, gone: Counter[str]) -> None:
        """Count rows that the purge has removed, for the event of the day."""
        with self._counting:
            self._purged += gone

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for step in (self._flush, self._seal_and_purge, self._send):
                self._try(step)
        for last in (self.repeats.flush_all, self._record_purged):
            self._try(last)
        if self._sender is not None:
            self._sender.close()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Unavailable:
            log.warning("the record of events: Postgres does not answer in time")
        except Exception:
            log.exception("the record of events could not be kept")

    def _flush(self) -> None:
        self.repeats.flush()
        if _today() != self._day:
            self._record_purged()

    def _record_purged(self) -> None:
        with self._counting:
            gone, day, self._purged, self._day = self._purged, self._day, Counter(), _today()
        if gone:
            with transaction(self._engine) as connection:
                audit.record(connection, Kind.ROWS_PURGED, day=day.isoformat(), rows=dict(gone))

    def _seal_and_purge(self) -> None:
        if time.monotonic() < self._next_seal:
            return
        self._next_seal = time.monotonic() + self._settings.purge_seconds
        key = self._settings.secret_key
        try:
            sealed = marks.seal(self._engine, key, is_first=not self._has_sealed)
        except (Broken, marks.Forged) as error:
            metrics.AUDIT_BROKEN.set(1)
            log.error(  # noqa: TRY400 - the sentence says it all
                "the record of events is broken: run ./naru audit verify", extra={"why": str(error)}
            )
            return
        metrics.AUDIT_BROKEN.set(0)
        if sealed is not None:
            log.info("events sealed", extra={"event_number": sealed.seq, "event_hash": sealed.hash.hex()})
        self._has_sealed = True
        if gone := marks.purge(self._engine, key, days=self._settings.keep_audit_days):
            metrics.PURGED.labels("event").inc(gone)
            self.count_purged(Counter(event=gone))
            self._next_seal = time.monotonic() + LOOK_SECONDS  # there may be more

    def _send(self) -> None:
        """Send what the fleet has not sent yet. The table is the queue: an event that cannot be sent waits there."""
        if self._settings.audit_log == "off":
            return
        with transaction(self._engine) as connection:
            if not connection.execute(_SENDING).scalar_one():
                metrics.AUDIT_UNSENT.set(0)  # another process sends
                return
            found = marks.marks_in(connection)
            anchor, sent = found.get(marks.ANCHOR), found.get(marks.SENT)
            behind = max((mark.link.seq for mark in (anchor, sent) if mark), default=0)
            events = list(everything(self._engine, Filter(), behind=behind, most=MOST_SENT))
            number = 0
            try:
                sender = self._connected()
                for event in events:
                    sender.send(event)
                    number += 1
            except OSError as error:
                log.warning("the record of events could not be sent", extra={"why": type(error).__name__})
                self._forget_sender()
            if number:
                last = events[number - 1]
                link = Link(last.seq, last.hash)
                marks.set_mark(connection, marks.SENT, link, keys_in(self._settings.secret_key))
                metrics.AUDIT_SENT.inc(number)
            metrics.AUDIT_UNSENT.set(len(events) - number)

    def _connected(self) -> Sender:
        if self._sender is None:
            self._sender = sender_for(self._settings.audit_log)
        return self._sender

    def _forget_sender(self) -> None:
        """Connect anew for the next event."""
        if self._sender is not None:
            self._sender.close()
            self._sender = None


def _today() -> date:
    return datetime.now(UTC).date()
