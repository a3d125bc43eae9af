"""The data that the parts of one worker process share. Each field is written by the module that its comment names."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine

from shared.fleet import Member
from shared.lifecycle import lanes
from shared.live.publisher import Publisher
from shared.postgres import pooler
from shared.postgres.database import make_engine
from shared.settings import Settings
from workers.process.loop import LoopThread
from workers.process.running import Running
from workers.providers.prices import Prices
from workers.providers.registry import Registry


@dataclass(slots=True)
class Vitals:
    """The last sign of life of each part, on the monotonic clock, and whether Postgres is away."""

    #: The last run of Celery's consumer (workers/app.py). A live process may consume nothing.
    consumed_at: float = 0.0
    #: The start of the lease thread's last round, whether or not Postgres answered (lease.py).
    lease_turned_at: float = field(default_factory=time.monotonic)
    #: Whether Postgres failed to answer the lease thread's last round (lease.py).
    is_postgres_away: bool = False
    #: The last tick of the reconciler in any process, as the last renewal saw it (lease.py).
    last_tick_at: float = -math.inf
    #: The last write that Redis took (pickup.py).
    redis_answered_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Context:
    """The shared data of one worker process, created by `make_context`."""

    settings: Settings
    engine: Engine
    loop: LoopThread
    running: Running
    registry: Registry
    prices: Prices
    #: The most answers at once by lane, of NARU_LANES and providers.toml (workers/worker.py).
    limits: Mapping[str, int] = field(default_factory=dict)
    #: Set once the process takes no new request (drain.py).
    draining: threading.Event = field(default_factory=threading.Event)
    #: This process's row in the fleet; None until it is registered, and again after it was lost (lease.py).
    member: Member | None = None
    vitals: Vitals = field(default_factory=Vitals)
    #: Sends a hint for a lane, without waiting (workers/worker.py).
    hint: Callable[[str], None] = field(init=False)
    #: Created in the event loop when the process starts (workers/worker.py).
    publisher: Publisher = field(init=False)

    def is_redis_away(self) -> bool:
        """Return whether Redis has taken no write for `broker_silence_seconds`; requests then come from Postgres."""
        return time.monotonic() - self.vitals.redis_answered_at > self.settings.broker_silence_seconds


def make_context(settings: Settings) -> Context:
    """Return the context of a process that has not started. Raises SettingsError if a setting is missing or wrong, or
    leads LISTEN through a pooler."""
    settings.need("database_url", "redis_url")
    pooler.refuse_pooled_listening(settings)
    loop, registry = LoopThread(), Registry(settings)
    return Context(
        settings=settings,
        engine=make_engine(settings, name="naru-worker"),
        loop=loop,
        running=Running(slots=settings.concurrency, loop=loop),
        registry=registry,
        prices=Prices(settings.prices, registry.instances),
        limits=limits_of(settings, registry),
    )


def limits_of(settings: Settings, registry: Registry) -> dict[str, int]:
    """Return the most answers at once by lane. Raises SettingsError for a bad NARU_LANES."""
    return lanes.limits_in(settings.lanes, has_others=bool(settings.providers_file)) | registry.limits()
