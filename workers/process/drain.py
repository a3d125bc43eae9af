"""The end of a worker process: finish answers within the grace time, hand over the rest, leave the fleet."""

from __future__ import annotations

import logging
import threading
import time

from shared import fleet
from workers.process.context import Context
from workers.process.lease import LeaseThread
from workers.process.running import Interruption

log = logging.getLogger(__name__)

#: Time to store and release an interrupted answer.
HAND_OVER_SECONDS = 2.0
_LOOK_SECONDS = 0.05


class Drain:
    """Drains one worker process. `begin` may be called from a signal handler."""

    def __init__(self, context: Context, lease: LeaseThread) -> None:
        self._context, self._lease = context, lease
        self._thread = threading.Thread(target=self._hand_over, name="drain", daemon=True)

    def start(self) -> None:
        """Start the thread that waits for `begin`."""
        self._thread.start()

    def begin(self) -> None:
        """Take no new request; once the grace time is over, hand over the running answers. Returns at once."""
        self._context.draining.set()
        self._lease.wake()

    def wait(self, *, seconds: float) -> None:
        """Return when no slot is taken, or after `seconds`."""
        limit = time.monotonic() + seconds
        while self._context.running.slots_taken() and time.monotonic() < limit:
            time.sleep(_LOOK_SECONDS)

    def leave_at_once(self) -> None:
        """Hand over within the grace time and leave the fleet: the process is about to exit.

        Gives up as soon as the event loop stalls, because a stream in it cannot be interrupted.
        """
        self.begin()
        limit = time.monotonic() + self._context.settings.grace_seconds + HAND_OVER_SECONDS
        while self._context.running.slots_taken() and time.monotonic() < limit and self._loop_turns():
            time.sleep(_LOOK_SECONDS)
        self._lease.close()  # first: the lease thread would register again
        self.leave()

    def leave(self) -> None:
        """Leave the fleet. If Postgres is away, the lease runs out by itself."""
        member, self._context.member = self._context.member, None
        if member is None:
            return
        try:
            fleet.leave(self._context.engine, member.worker_id)
        except Exception as error:  # noqa: BLE001 - nothing may keep the process from ending
            log.info("could not leave the fleet", extra={"error": type(error).__name__})

    def _hand_over(self) -> None:
        self._context.draining.wait()
        self.wait(seconds=self._context.settings.grace_seconds)
        # Repeatedly: a claim that was under way when the grace time ended registers its answer only afterwards.
        while self._context.running.slots_taken():
            self._context.running.interrupt_all(Interruption.DRAIN)
            time.sleep(_LOOK_SECONDS)

    def _loop_turns(self) -> bool:
        return self._context.loop.stalled_seconds() < self._context.settings.stall_seconds
