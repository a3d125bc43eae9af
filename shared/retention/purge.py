"""The purge: the thread of a web process that removes what should be gone, slice after slice.

One slice at a time runs in the whole fleet: it holds an advisory lock that ends with its transaction. A process that
finds the lock taken leaves the round to the other. After each slice the thread rests for four times as long, and a
slice that took too long is followed by a smaller one, so the purge leaves Postgres to the questions.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from sqlalchemy import Engine

from shared import metrics
from shared.errors import Unavailable
from shared.keeping import Keeping
from shared.retention.slices import MOST_ROWS, purge_slice
from shared.settings import Settings

log = logging.getLogger(__name__)

#: A slice that takes longer is followed by a smaller one.
SLICE_SECONDS = 0.05
#: The thread rests for this many times the duration of the slice, and at least for the shortest rest.
REST_TIMES = 4.0
SHORTEST_REST_SECONDS = 0.05
#: Its round trips cost a slice more than this many rows do: on an overloaded machine a smaller one is no shorter.
FEWEST_ROWS = 100


class Purge:
    """The thread of one process. It only starts work that is due, and may be stopped at any time."""

    def __init__(
        self, engine: Engine, settings: Settings, *, on_gone: Callable[[Counter[str]], None] = lambda _: None
    ) -> None:
        """`on_gone` is called with the number of removed rows by kind, after each slice."""
        self._engine, self._settings, self._on_gone = engine, settings, on_gone
        self._keeping = Keeping.of(settings)
        self._rows = MOST_ROWS
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="purge", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; wait up to 5 s for the running slice."""
        self._stopping.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        # The processes of a fleet that starts at once do not look at the same moment.
        while not self._stopping.wait(self._settings.purge_seconds * random.uniform(0.5, 1.5)):
            try:
                self._round()
            except Unavailable:
                # Postgres is away, or the slice ran into a time limit.
                self._rows = FEWEST_ROWS
                log.warning("purge: Postgres does not answer in time")
            except Exception:
                log.exception("purge: a slice failed")

    def _round(self) -> None:
        gone: Counter[str] = Counter()
        while not self._stopping.is_set():
            began = time.monotonic()
            removed = purge_slice(self._engine, self._keeping, rows=self._rows)
            if not removed:
                break
            took = time.monotonic() - began
            metrics.PURGE_SECONDS.observe(took)
            for kind, number in removed.items():
                metrics.PURGED.labels(kind).inc(number)
            gone += removed
            self._on_gone(removed)
            self._rows = next_rows(self._rows, took)
            self._stopping.wait(max(REST_TIMES * took, SHORTEST_REST_SECONDS))
        if gone:
            log.info("purged", extra={"purged_rows": gone.total()})


def next_rows(rows: int, took_seconds: float) -> int:
    """Return the size of the next slice, so that it takes about SLICE_SECONDS; it grows to at most the double."""
    fitting = int(rows * SLICE_SECONDS / max(took_seconds, SLICE_SECONDS / 2))
    return max(FEWEST_ROWS, min(MOST_ROWS, fitting))
