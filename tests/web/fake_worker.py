"""A fake worker, driven by the test instead of a worker process."""

from __future__ import annotations

from uuid import UUID, uuid4

import redis
from sqlalchemy import Engine

from shared import fleet, lifecycle
from shared.lifecycle import Answer, Claimant, Claimed, Question
from shared.live.events import Event, Kind, key_of, to_value
from shared.people import Owner
from tests.shared.rig import claim_only
from tests.stack import Stack

ONE_HOUR = 3600.0


class FakeWorker:
    """Claims requests and writes their streams and rows, as a worker does."""

    def __init__(self, stack: Stack, engine: Engine) -> None:
        self.engine = engine
        self.redis: redis.Redis = stack.redis_client()
        self.worker_id = uuid4()

    def enter(self, *, slots: int = 4) -> None:
        """Join the fleet."""
        member = fleet.Member(worker_id=self.worker_id, host="test", pid=0, version="0", slots=slots, models=())
        fleet.register(self.engine, member, lease_seconds=ONE_HOUR)

    def question(self, owner: Owner, conversation_id: UUID | None = None) -> tuple[UUID, UUID]:
        """Store a question; return the ids of its conversation and its request."""
        question = Question(
            owner=owner,
            conversation_id=conversation_id or uuid4(),
            text="나루?",
            idempotency_key=uuid4().hex,
        )
        made = lifecycle.submit(self.engine, question, deadline_seconds=ONE_HOUR, max_characters=1000)
        return made.conversation_id, made.request_id

    def claim(self, request_id: UUID) -> Claimed:
        """Claim the request and write the attempt's start to its stream."""
        claimed = claim_only(self.engine, request_id, Claimant(worker_id=self.worker_id, models=("",)))
        assert claimed is not None
        self.write(request_id, Event(Kind.START, claimed.attempt))
        return claimed

    def write(self, request_id: UUID, *events: Event) -> None:
        """Append entries to the request's live stream, in one pipeline."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for event in events:
                pipeline.xadd(key_of(request_id), {event.kind.value: to_value(event)})
            pipeline.execute()

    def finish(self, claimed: Claimed, text: str) -> None:
        """End the request's row, then its stream."""
        assert lifecycle.finish(self.engine, claimed, Answer(text=text, finish="stop"))
        self.write(claimed.request_id, Event(Kind.END, claimed.attempt, 0, "succeeded"))


def deltas(attempt: int, text: str, *, size: int, start: int = 0) -> list[Event]:
    """Return `text` from `start` on, as deltas of `size` characters."""
    return [
        Event(Kind.DELTA, attempt, offset, text[offset : offset + size]) for offset in range(start, len(text), size)
    ]
