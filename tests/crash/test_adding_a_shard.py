"""A second Redis for live text is added process by process, while people watch running answers: none is lost."""

from __future__ import annotations

from uuid import UUID, uuid4

from sqlalchemy import Engine

from shared import lifecycle
from shared.lifecycle import Question
from shared.live.shards import shard_of
from shared.people import Owner
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.more_redis import more_redis
from tests.stack import Stack, wait_until
from tests.web.clients import EventReader, browser

ANSWERS = 8
LONG = "[[sim: tokens=400 pace=25 first=0.1]]"


def ask(person: Person, owner: Owner) -> tuple[UUID, UUID]:
    """Ask a long question; return its conversation and request."""
    question = Question(owner=owner, conversation_id=uuid4(), text=LONG, idempotency_key=uuid4().hex)
    made = lifecycle.submit(person.engine, question, deadline_seconds=600, max_characters=1000)
    person.dispatcher.send(made.lane)
    return made.conversation_id, made.request_id


def deltas(reader: EventReader) -> int:
    """Return how many pieces of text arrived; checkpoints bring one a second."""
    return sum(event.name == "delta" for event in list(reader.events))


def test_shard_is_added_without_downtime(stack: Stack, engine: Engine) -> None:
    stack.start_simulator()
    stack.configure(checkpoint_seconds=1, concurrency=20, grace_seconds=3)
    old_web, old_worker = stack.start_web(), stack.start_worker()
    owner, cookie = browser(stack)
    server, extra = more_redis(stack.servers, f"more-{stack.folder.parent.name}")
    try:
        with Person(stack, engine) as alice:
            asked = [ask(alice, owner) for _ in range(ANSWERS)]
            at_old = [EventReader(old_web.url, each, cookie).open() for each, _ in asked]
            for reader in at_old:
                reader.until(lambda reader: reader.text, seconds=20)

            # Web first: it reads what the old worker writes, wherever its own list expects it.
            both = f"{stack.redis_url},{server.url}"
            new_web = stack.start_web(live_redis_urls=both)
            at_new = [EventReader(new_web.url, each, cookie).open() for each, _ in asked]
            moved = [reader for reader, (_, request) in zip(at_new, asked, strict=True) if shard_of(request, 2) == 1]
            for reader in moved:
                reader.until(lambda reader: deltas(reader) >= 20, seconds=20, what="live text, not only checkpoints")

            # Then the worker. What the old one hands over starts again there, half of it on the new server.
            stack.start_worker(live_redis_urls=both)
            old_worker.terminate()
            old_worker.wait(seconds=20)
            for reader in (*at_new, *at_old):
                reader.until(lambda reader: reader.ends(), seconds=60, what="the end")
                assert reader.ends()[0]["status"] == "succeeded"
            for _, request in asked:
                assert alice.status(request) == Status.SUCCEEDED
                assert alice.answers(request) == [full_text(LONG)]
            wait_until(lambda: not any(reader.faults for reader in (*at_new, *at_old)), what="no gap, nothing twice")
    finally:
        extra.kill()
        for reader in (*at_new, *at_old):
            reader.close()
