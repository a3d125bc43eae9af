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
from shared.postgres.database import transaction
from shared.redis import make_client
from shared.settings import Settings
from shared.tables import request_attempt

log = logging.getLogger(__name__)


class BestText:
    """Reads the stream and the checkpoint; while Redis is away, the checkpoint only."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._redis: Redis = make_client(
            settings.redis_url,
            timeout_seconds=settings.redis_timeout_seconds,
            decode_responses=True,
            encoding_errors="replace",
            protocol=2,
        )

    def __call__(self, request_id: UUID, attempt: int) -> str | None:
        """Return the longest known text of this attempt, or None."""
        text = LiveText()
        for fields in self._entries(request_id):
            event = from_fields(fields)
            if event is not None and event.attempt == attempt:
                text.fold(event)
        text.whole(attempt, checkpoint_of(self._engine, request_id, attempt))
        return text.since(0) or None

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _entries(self, request_id: UUID) -> list[dict[str, str]]:
        try:
            entries: Any = self._redis.xrange(key_of(request_id))
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
