"""Ends a process that runs but no longer works, so that its supervisor (compose, `up`, Kubernetes) restarts it.

Compose restarts a process that exits, not one that is unhealthy. So the process evaluates its own health checks, the
ones that /healthz shows. If no Python thread runs at all, the checking thread cannot run either: a timer of the
interpreter (`faulthandler`) then ends the process. A completely frozen process is ended from outside, by `up`
(deploy/embedded/silence.py) or by the container's health check (deploy/images/probe.py).
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
#: Default time until all checks pass for the first time; the servers may start one after the other.
START_SECONDS = 120.0


class WedgeWatch:
    """A thread that runs the health checks of its own process, and ends the process when they keep failing.

    `checks` returns each result by name, True for a pass. Checks may fail for `limit_seconds`, and for `start_seconds`
    until all have passed once. `leave` is called before the end and may take `leave_seconds`. Failures do not count
    while `is_draining` returns True, because the process is ending anyway. The interpreter's timer ends the process
    when this thread has not run for `no_thread` times the limit.
    """

    def __init__(
        self,
        checks: Callable[[], Mapping[str, bool]],
        *,
        limit_seconds: float,
        no_thread: float,
        start_seconds: float = START_SECONDS,
        leave: Callable[[], None] = lambda: None,
        leave_seconds: float = 0.0,
        is_draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._checks = checks
        self._limit_seconds = limit_seconds
        self._no_thread = no_thread
        self._start_seconds = start_seconds
        self._leave = leave
        self._leave_seconds = leave_seconds
        self._is_draining = is_draining
        self._closing = threading.Event()
        #: Held while the timer is set, because a timer set after `close` would end the process.
        self._setting = threading.Lock()

    def start(self) -> None:
        """Start checking. A limit of 0 seconds means never."""
        if self._limit_seconds:
            threading.Thread(target=self._run, name="wedge", daemon=True).start()

    def close(self) -> None:
        """Stop checking: the process is ending by itself."""
        with self._setting:
            self._closing.set()
            faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        patience_seconds = max(self._limit_seconds, self._start_seconds)
        # Count from the first failure, not from the last success: a process that was frozen fails when it resumes.
        bad_since: float | None = None
        while not self._closing.wait(LOOK_SECONDS):
            self._set_timer(self._no_thread * patience_seconds)
            bad = [name for name, is_good in self._checks().items() if not is_good]
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
        log.critical("this process is wedged: exiting for a restart", extra={"not_well": bad})
        faulthandler.dump_traceback(file=STDERR, all_threads=True)
        faulthandler.dump_traceback_later(self._leave_seconds + START_SECONDS, exit=True, file=STDERR)
        try:
            self._leave()
        finally:
            sys.stdout.flush()
            os._exit(WEDGED)
