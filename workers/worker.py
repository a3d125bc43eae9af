"""The composition root of a worker process: what it is made of, in which order it starts, drains and ends.

Celery starts it (`workers/app.py`) and lends it threads; everything else here is ours: the event loop, the lease, the
pickup for the time without Redis, the reconciler's ticks, the metrics port.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from uuid import UUID, uuid4

from shared import fleet, metrics
from shared.fleet import Member, Model
from shared.interpreter import settle_memory
from shared.live.publisher import Publisher
from shared.postgres.database import make_engine
from shared.queue import Dispatcher
from shared.reconciler import Ticker
from shared.settings import CLOSE_SECONDS, Settings
from shared.wedge import WedgeWatch
from workers.process.health import HealthServer, health_of
from workers.process.lease import LeaseThread
from workers.process.loop import LoopThread
from workers.process.pickup import Pickup
from workers.process.running import Interruption, Running
from workers.providers.prices import Prices
from workers.providers.registry import Registry

log = logging.getLogger(__name__)

#: What an interrupted answer takes to be stored and released.
HAND_OVER_SECONDS = 2.0
#: No thread of Python may be away for longer than so many times the limit of a wedged worker.
NO_THREAD = 2.0


class Process:
    """One worker process. The pickup calls `answer` for each request that it finds."""

    def __init__(self, settings: Settings, *, answer: Callable[[Process, UUID], None]) -> None:
        settings.need("database_url", "redis_url")
        self.settings = settings
        self.engine = make_engine(settings, name="naru-worker")
        self.loop = LoopThread()
        self.running = Running(slots=settings.concurrency, loop=self.loop)
        self.registry = Registry(settings)
        self.prices = Prices(settings.prices)
        self.draining = threading.Event()
        #: Who this process is in the fleet; None until it is registered, and anew after it was lost.
        self.member: Member | None = None
        #: When Celery's consumer last turned, on the monotonic clock: alive and consuming are two things.
        self.consumed_at = 0.0
        #: When the lease thread last turned, whether Postgres answered it or not.
        self.lease_turned_at = time.monotonic()
        self.publisher: Publisher
        self._lease = LeaseThread(self)
        self._pickup = Pickup(self, lambda request_id: answer(self, request_id))
        self._dispatcher = Dispatcher(settings, self.engine)
        self._ticker = Ticker(self.engine, settings, resend=self._dispatcher.send, best_text=None)
        self._health = HealthServer(self)
        self._wedge = WedgeWatch(
            lambda: health_of(self),
            limit_seconds=settings.wedged_seconds,
            no_thread=NO_THREAD,
            leave=self.leave_at_once,
            leave_seconds=settings.grace_seconds,
            # A draining worker consumes no more and ends within its grace time.
            is_draining=self.draining.is_set,
        )

    def start(self) -> None:
        """Start everything; Postgres and Redis may still be away."""
        self.loop.start()
        self.loop.submit(self.registry.discover()).result(timeout=10)
        self._count_from_zero()
        self.publisher = self.loop.submit(self._make_publisher()).result(timeout=10)
        threading.Thread(target=self._hand_over, name="drain", daemon=True).start()
        self._health.start()
        self._lease.start()
        self._pickup.start()
        self._ticker.start()
        self._wedge.start()
        # Importing an SDK takes most of a second: before the first question, but behind everything else.
        self.loop.submit(self.registry.warm()).add_done_callback(lambda _: settle_memory())
        self._discovering = self.loop.submit(self.registry.keep_discovering(self._models_changed))

    async def _make_publisher(self) -> Publisher:
        publisher = Publisher(self.settings)
        self._flusher = self.loop.loop.create_task(publisher.run())
        return publisher

    def new_member(self) -> Member:
        """A fresh identity: a process that was marked lost never writes under its old one again."""
        return Member(
            worker_id=uuid4(),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=_version(),
            slots=self.settings.concurrency,
            models=self._models(),
        )

    def _models(self) -> list[Model]:
        return [Model(name=offer.name, demo=offer.demo) for offer in self.registry.offers()]

    def member_with_models(self, member: Member) -> Member:
        """`member` with what is offered now; itself when that is the same. The lease thread writes it into the row."""
        models = self._models()
        return member if models == list(member.models) else replace(member, models=models)

    def _count_from_zero(self) -> None:
        """What can happen here is counted from zero on: of a counter that appears with its first event Prometheus sees
        no growth."""
        for provider in self.registry.configured():
            metrics.CLAIMS.labels(provider)
            for code in metrics.CODES:
                metrics.PROVIDER_ERRORS.labels(provider, code)
        for offer in self.registry.offers():
            metrics.COST.labels(offer.name)
            metrics.UNPRICED.labels(offer.name)

    def _models_changed(self) -> None:
        self._count_from_zero()
        self._lease.wake()

    def became_lost(self) -> None:
        """The lease ran out: drop every stream, write nothing more; the lease thread registers anew."""
        log.warning(
            "this worker was marked lost: its answers are taken over", extra={"answers": len(self.running.answers())}
        )
        self.member = None
        self.running.interrupt_all(Interruption.LOST)

    def heard_of_request(self) -> None:
        """A request is queued, says a notification."""
        self._pickup.heard_of_request()

    def broker_changed(self) -> None:
        """Redis is away, or back."""
        self._lease.wake()

    def storage_is_away(self) -> bool:
        """Whether the lease thread waits for a Postgres that does not answer."""
        return self._lease.is_away

    def broker_is_away(self) -> bool:
        """Whether requests are taken from Postgres because Redis is silent."""
        return self._pickup.broker_is_away()

    def drain(self) -> None:
        """Take nothing new; let answers finish within the grace time; then hand over the rest.

        Called from a signal handler too: it sets an event and returns.
        """
        self.draining.set()
        self._lease.wake()

    def _hand_over(self) -> None:
        self.draining.wait()
        limit = time.monotonic() + self.settings.grace_seconds
        while self.running.taken() and time.monotonic() < limit:
            time.sleep(0.05)
        # Not once: what was being claimed at the limit is an answer only after it.
        while self.running.taken():
            self.running.interrupt_all(Interruption.DRAIN)
            time.sleep(0.05)

    def leave_at_once(self) -> None:
        """Hand over what can be handed over within the grace time, and say goodbye: the process is about to end."""
        self.drain()
        limit = time.monotonic() + self.settings.grace_seconds + HAND_OVER_SECONDS
        while self.running.taken() and time.monotonic() < limit and self._loop_turns():
            time.sleep(0.05)
        self._lease.close()  # first: it would register anew
        self._leave()

    def _loop_turns(self) -> bool:
        return self.loop.stalled_seconds() < self.settings.stall_seconds

    def close(self) -> None:
        """End in order: the answers first (they were drained), then the lease, then the rest."""
        self._wedge.close()
        self._discovering.cancel()
        self.drain()
        limit = time.monotonic() + self.settings.grace_seconds + CLOSE_SECONDS
        while self.running.taken() and time.monotonic() < limit:
            time.sleep(0.02)
        self._pickup.close()
        self._ticker.close()
        self._lease.close()
        self._leave()
        self._dispatcher.close()
        self.loop.submit(self._close_streams()).result(timeout=CLOSE_SECONDS)
        self.loop.close()
        self._health.close()
        self.engine.dispose()

    async def _close_streams(self) -> None:
        # Again and again: redis-py may swallow a cancellation that comes within a flush.
        while not self._flusher.done():
            self._flusher.cancel()
            await asyncio.wait([self._flusher], timeout=0.1)
        await self.publisher.drain()
        await self.publisher.aclose()
        await self.registry.close()

    def _leave(self) -> None:
        member, self.member = self.member, None
        if member is None:
            return
        try:
            fleet.leave(self.engine, member.worker_id)
        except Exception as error:  # noqa: BLE001 - the lease runs out by itself
            log.info("could not say goodbye", extra={"error": type(error).__name__})


def _version() -> str:
    try:
        return version("naru")
    except PackageNotFoundError:
        return "source"
