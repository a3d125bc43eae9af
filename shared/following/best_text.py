"""The longest partial text of an attempt, from its live stream and its last checkpoint.

The reconciler calls it, in its own thread, to carry out a stop that no worker answered.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from redis import Redis, RedisError
from sqlalchemy import Engine, select

from shared.following.text import LiveText
from shared.live.events import from_fields, key_of
from shared.live.shards import live_urls, shard_of
from shared.postgres.database import transaction
from shared.redis import make_client
from shared.settings import Settings
from shared.tables import request_attempt

log = logging.getLogger(__name__)


class BestText:
    """Reads the stream and the checkpoint; while Redis is away, the checkpoint only."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        #: One for each shard.
        self._shards: list[Redis] = [
            make_client(
                url,
                timeout_seconds=settings.redis_timeout_seconds,
                decode_responses=True,
                encoding_errors="replace",
                protocol=2,
            )
            for url in live_urls(settings)
        ]

    def __call__(self, request_id: UUID, attempt: int) -> str | None:
        """Return the longest known text of this attempt, or None."""
        text = LiveText()
        home = shard_of(request_id, len(self._shards))
        # The request's own shard first; another one has the stream only if the worker has another list of shards.
        for shard in (*self._shards[home:], *self._shards[:home]):
            for fields in self._entries(shard, request_id):
                event = from_fields(fields)
                if event is not None and event.attempt == attempt:
                    text.fold(event)
            if text.length:
                break
        text.whole(attempt, checkpoint_of(self._engine, request_id, attempt))
        return text.since(0) or None

    def close(self) -> None:
        """Close the connections."""
        for shard in self._shards:
            shard.close()

    def _entries(self, shard: Redis, request_id: UUID) -> list[dict[str, str]]:
        try:
            entries: Any = shard.xrange(key_of(request_id))
            return [fields for _, fields in entries]
        except (RedisError, OSError) as error:
            log.info("best text: no live stream", extra={"error": type(error).__name__})
            return []


def checkpoint_of(engine: Engine, request_id: UUID, attempt: int) -> str:
    """Return the attempt's last checkpoint; empty when there is none."""
    c = request_attempt.c
    with transaction(engine) as connection:
        found = connection.execute(
            select(c.checkpoint).where(c.request_id == request_id, c.attempt == attempt)
        ).scalar_one_or_none()
    return found or ""
