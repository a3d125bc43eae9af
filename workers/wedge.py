"""Ends a worker that lives and does not work, so that whoever keeps it (compose, `up`, Kubernetes) starts it again.

Plain compose restarts what ends, not what is unhealthy; so the process judges itself by its own /healthz. What it can
still hand over it hands over. Behind the thread stands a timer of the interpreter that needs no thread of Python: it
ends a process in which none runs any more. A process that is frozen as a whole is its container's to end
(deploy/images/probe.py).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from workers.health import health_of

if TYPE_CHECKING:
    from workers.process import Process

log = logging.getLogger(__name__)

STDERR = 2
#: Its exit code: EX_SOFTWARE of sysexits.h.
WEDGED = 70
LOOK_SECONDS = 1.0
#: A start may take longer: servers come up one after the other.
START_SECONDS = 120.0
#: Of the limit: when no thread of Python has run for so long.
NO_THREAD = 2.0


class WedgeWatch:
    """One thread that looks at the health of its own process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._limit_seconds = process.settings.wedged_seconds
        self._closing = threading.Event()
        #: Between the look whether it closes and the timer: one that is set after the end has begun would cut it off.
        self._setting = threading.Lock()

    def start(self) -> None:
        """Begin to look; never, when the limit is 0."""
        if self._limit_seconds:
            threading.Thread(target=self._run, name="wedge", daemon=True).start()

    def close(self) -> None:
        """The process ends by itself."""
        with self._setting:
            self._closing.set()
            faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        patience_seconds = max(self._limit_seconds, START_SECONDS)
        # From the first bad look on, not from the last good one: a process that was frozen looks bad as it goes on.
        bad_since: float | None = None
        while not self._closing.wait(LOOK_SECONDS):
            self._set_timer(NO_THREAD * patience_seconds)
            bad = [name for name, well in health_of(self._process).items() if not well]
            if not bad:
                bad_since, patience_seconds = None, self._limit_seconds
                continue
            # Draining, it consumes no more and ends within its grace time.
            if bad_since is None or self._process.draining.is_set():
                bad_since = time.monotonic()
            if time.monotonic() - bad_since >= patience_seconds:
                self._end(bad)

    def _set_timer(self, seconds: float) -> None:
        with self._setting:
            if not self._closing.is_set():
                faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)

    def _end(self, bad: list[str]) -> None:
        log.critical("this worker is wedged: it ends, to be started again", extra={"not_well": bad})
        faulthandler.dump_traceback(file=STDERR, all_threads=True)
        # Handing over has the grace time, which may be longer than the timer's.
        handing_over = self._process.settings.grace_seconds + START_SECONDS
        faulthandler.dump_traceback_later(handing_over, exit=True, file=STDERR)
        try:
            self._process.leave_at_once()
        finally:
            sys.stdout.flush()
            os._exit(WEDGED)
