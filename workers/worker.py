"""The composition root of a worker process: its parts, and the order in which they start and end.

Celery starts it (`workers/app.py`) and provides the threads. The parts are in `workers/process/`, the life of an answer
is in `workers/answering/answer.py`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from shared.interpreter import freeze_loaded_objects
from shared.live.publisher import Publisher
from shared.queue import Dispatcher
from shared.reconciler import Ticker
from shared.settings import CLOSE_SECONDS, Settings
from shared.wedge import WedgeWatch
from workers.answering import calls
from workers.answering.answer import answer
from workers.answering.falling_back import keep_diverting
from workers.process import membership
from workers.process.context import limits_of, make_context
from workers.process.drain import Drain
from workers.process.health import HealthServer, health_of
from workers.process.lease import LeaseThread
from workers.process.pickup import Pickup

#: All Python threads may be stalled for this many times the limit of a wedged worker.
NO_THREAD = 2.0
START_SECONDS = 10.0
FACTS_SECONDS = 2.0


class Worker:
    """One worker process. Raises SettingsError when the address of a server is missing."""

    def __init__(
        self,
        settings: Settings,
        *,
        lanes_changed: Callable[[], None] = lambda: None,
        drain_requested: Callable[[], None] = lambda: None,
    ) -> None:
        """`lanes_changed` is called when `lanes` changes, `drain_requested` when an administrator asks for a drain."""
        self.context = make_context(settings)
        self._lanes_changed, self._has_lanes = lanes_changed, threading.Event()
        self._lease = LeaseThread(
            self.context, on_request=self._hear_of_request, on_lanes=self._note_lanes, on_drain=drain_requested
        )
        self._pickup = Pickup(self.context, answer=self.answer, redis_changed=self._lease.wake)
        self._drain = Drain(self.context, self._lease)
        self._dispatcher = Dispatcher(settings)
        self.context.hint = self._dispatcher.send
        self._ticker = Ticker(
            self.context.engine,
            settings,
            resend=self._dispatcher.ensure,
            best_text=None,
            last_tick=lambda: self.context.vitals.last_tick_at,
        )
        self._health = HealthServer(self.context)
        self._wedge = WedgeWatch(
            lambda: health_of(self.context),
            limit_seconds=settings.wedged_seconds,
            no_thread=NO_THREAD,
            leave=self._drain.leave_at_once,
            leave_seconds=settings.grace_seconds,
            # A draining worker consumes no more and ends within its grace time.
            is_draining=self.context.draining.is_set,
        )

    def start(self) -> None:
        """Start everything. Postgres and Redis may still be away."""
        loop, registry = self.context.loop, self.context.registry
        loop.start()
        loop.submit(registry.discover()).result(timeout=START_SECONDS)
        # The first question should not pay for a fact that the fleet knows; nor may it wait long for Postgres.
        with suppress(TimeoutError):
            loop.submit(registry.knowledge.exchange(self.context.engine)).result(timeout=FACTS_SECONDS)
        membership.start_counters(self.context)
        self.context.publisher = loop.submit(self._start_publisher()).result(timeout=START_SECONDS)
        self._drain.start()
        self._health.start()
        self._lease.start()
        self._pickup.start()
        self._ticker.start()
        self._wedge.start()
        # Importing an SDK takes most of a second. It comes last, but before the first question.
        loop.submit(registry.warm()).add_done_callback(lambda _: freeze_loaded_objects())
        self._discovering = loop.submit(registry.keep_discovering(self._models_changed))
        self._exchanging = loop.submit(registry.knowledge.keep_exchanging(self.context.engine))
        self._diverting = loop.submit(keep_diverting(self.context))
        self._cancelling = loop.submit(calls.keep_cancelling(self.context))

    def answer(self, lane: str, claimed: Callable[[], None] | None = None) -> None:
        """Answer the fairest request of a lane, if one can be claimed. Blocks until the answer has ended."""
        answer(self.context, lane, claimed)

    @property
    def lanes(self) -> frozenset[str]:
        """The lanes that this process serves."""
        return self.context.running.lanes

    def wait_for_lanes(self, *, seconds: float) -> None:
        """Return when this process knows its lanes, or after `seconds`."""
        self._has_lanes.wait(seconds)

    def consumed(self) -> None:
        """Note that Celery's consumer ran."""
        self.context.vitals.consumed_at = time.monotonic()

    def drain(self) -> None:
        """Take no new request, and hand over the running answers when the grace time is over. Returns at once."""
        self._drain.begin()

    def close(self) -> None:
        """Shut down in order: drain the answers, then end the lease, then the rest."""
        self._wedge.close()
        self._discovering.cancel()
        self._exchanging.cancel()
        self._diverting.cancel()
        self._cancelling.cancel()
        self._drain.begin()
        self._drain.wait(seconds=self.context.settings.grace_seconds + CLOSE_SECONDS)
        self._pickup.close()
        self._ticker.close()
        self._lease.close()
        self._drain.leave()
        self._dispatcher.close()
        self.context.loop.submit(self._close_streams()).result(timeout=CLOSE_SECONDS)
        self.context.loop.close()
        self._health.close()
        self.context.engine.dispose()

    def _note_lanes(self) -> None:
        self._has_lanes.set()
        self._lanes_changed()

    def _hear_of_request(self) -> None:
        self._pickup.hear_of_request()

    def _models_changed(self) -> None:
        self.context.limits = limits_of(self.context.settings, self.context.registry)
        membership.start_counters(self.context)
        self._lease.wake()

    async def _start_publisher(self) -> Publisher:
        publisher = Publisher(self.context.settings)
        self._flusher = asyncio.create_task(publisher.run())
        return publisher

    async def _close_streams(self) -> None:
        # Repeatedly, because redis-py may swallow a cancellation that comes within a flush.
        while not self._flusher.done():
            self._flusher.cancel()
            await asyncio.wait([self._flusher], timeout=0.1)
        await self.context.publisher.drain()
        await self.context.publisher.aclose()
        await self.context.registry.close()
