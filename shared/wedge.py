"""Ends a process that lives and does not work, so that its keeper (compose, `up`, Kubernetes) starts it again.

Compose restarts a process that ends, not one that is unhealthy. Therefore the process judges itself by the same signs
that its /healthz shows. A timer of the interpreter stands behind the thread that judges, because that thread cannot run
either when no thread of Python runs. A process that is frozen as a whole is ended from outside: `up` does it
(deploy/embedded/silence.py), and so does the container's health check (deploy/images/probe.py).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

STDERR = 2
#: The exit code of a wedged process: EX_SOFTWARE of sysexits.h.
WEDGED = 70
LOOK_SECONDS = 1.0
#: Until the first good look, by default: servers may come up one after the other.
START_SECONDS = 120.0


class WedgeWatch:
    """A thread that looks at the signs of life of its own process, and ends the process when they stay bad.

    `signs` returns each sign by name, True when it is good. Until all were good once they may stay bad for
    `start_seconds`. `leave` is called before the end and may take `leave_seconds`. While `is_draining` returns True the
    process ends by itself, and bad signs do not count. No thread of Python may be away for longer than `no_thread`
    times the limit.
    """

    def __init__(
        self,
        signs: Callable[[], Mapping[str, bool]],
        *,
        limit_seconds: float,
        no_thread: float,
        start_seconds: float = START_SECONDS,
        leave: Callable[[], None] = lambda: None,
        leave_seconds: float = 0.0,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._signs = signs
        self._limit_seconds = limit_seconds
        self._no_thread = no_thread
        self._start_seconds = start_seconds
        self._leave = leave
        self._leave_seconds = leave_seconds
        self._is_draining = is_draining
        self._closing = threading.Event()
        #: Held while the timer is set: a timer that is set after `close` would cut the process off.
        self._setting = threading.Lock()

    def start(self) -> None:
        """Begin to look. A limit of 0 seconds means never."""
        if self._limit_seconds:
            threading.Thread(target=self._run, name="wedge", daemon=True).start()

    def close(self) -> None:
        """Stop looking: the process ends by itself."""
        with self._setting:
            self._closing.set()
            faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        patience_seconds = max(self._limit_seconds, self._start_seconds)
        # Count from the first bad look, not from the last good one: a process that was frozen looks bad as it goes on.
        bad_since: float | None = None
        while not self._closing.wait(LOOK_SECONDS):
            self._set_timer(self._no_thread * patience_seconds)
            bad = [name for name, is_good in self._signs().items() if not is_good]
            if not bad:
                bad_since, patience_seconds = None, self._limit_seconds
                continue
            if bad_since is None or self._is_draining():
                bad_since = time.monotonic()
            if time.monotonic() - bad_since >= patience_seconds:
                self._end(bad)

    def _set_timer(self, seconds: float) -> None:
        with self._setting:
            if not self._closing.is_set():
                faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)

    def _end(self, bad: list[str]) -> None:
        log.critical("this process is wedged: it ends, to be started again", extra={"not_well": bad})
        faulthandler.dump_traceback(file=STDERR, all_threads=True)
        faulthandler.dump_traceback_later(self._leave_seconds + START_SECONDS, exit=True, file=STDERR)
        try:
            self._leave()
        finally:
            sys.stdout.flush()
            os._exit(WEDGED)
