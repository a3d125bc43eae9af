"""Bulk rows for figures about full tables, made in SQL as `lifecycle` would have stored them.

Ids are hashes of the row's position: a figure can compute any of them, and indexes scatter them like real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from uuid import UUID

import psycopg2
import psycopg2.extensions

from shared.people import Owner

#: Characters per message, as in an answer of 100 tokens.
CHARACTERS = 480


@dataclass(frozen=True, slots=True)
class Filled:
    """Conversations of `messages` alternating questions and answers, assigned to `owners` owners in rotation."""

    name: str
    conversations: int
    messages: int
    owners: int

    def owner(self, conversation: int) -> Owner:
        """Return the owner of a conversation."""
        return Owner.browser(_uuid(f"{self.name}-o{conversation % self.owners}"))

    def conversation_id(self, conversation: int) -> UUID:
        """Return the id of a conversation."""
        return _uuid(f"{self.name}-c{conversation}")


def _uuid(words: str) -> UUID:
    return UUID(md5(words.encode(), usedforsecurity=False).hexdigest())


def fill(database_url: str, filled: Filled, *, owner: Owner | None = None) -> None:
    """Store the rows, oldest conversation first, all owned by `owner` if given, without checking foreign keys."""
    values = {
        "name": filled.name,
        "conversations": filled.conversations,
        "messages": filled.messages,
        "owners": filled.owners,
        "owner": owner.key if owner else "",
        "characters": CHARACTERS,
    }
    with _patience():
        connection = psycopg2.connect(database_url, options="-c synchronous_commit=off")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET session_replication_role = replica")
                for statement in _STATEMENTS:
                    cursor.execute(statement, values)
                cursor.execute("VACUUM ANALYZE")
        finally:
            connection.close()


@contextmanager
def _patience() -> Iterator[None]:
    """Suspend the product's time limit per statement, which applies to the entire process."""
    limit = psycopg2.extensions.get_wait_callback()
    psycopg2.extensions.set_wait_callback(None)
    try:
        yield
    finally:
        psycopg2.extensions.set_wait_callback(limit)


_OWNER = "coalesce(nullif(%(owner)s, ''), 'browser:' || md5(%(name)s || '-o' || (c %% %(owners)s))::uuid)"  # as owner()
_AT = "now() - make_interval(mins => %(conversations)s - c)"
_STATEMENTS = (
    f"""
    INSERT INTO conversation (id, owner_id, title, leaf_id, created_at, updated_at)
    SELECT md5(%(name)s || '-c' || c)::uuid, {_OWNER}, 'Conversation ' || c,
           md5(%(name)s || '-m' || c || '/' || %(messages)s)::uuid, {_AT}, {_AT}
    FROM generate_series(0, %(conversations)s - 1) c
    """,
    f"""
    INSERT INTO message (id, conversation_id, parent_id, role, content, request_id, created_at)
    SELECT md5(%(name)s || '-m' || c || '/' || m)::uuid, md5(%(name)s || '-c' || c)::uuid,
           CASE WHEN m > 1 THEN md5(%(name)s || '-m' || c || '/' || m - 1)::uuid END,
           CASE WHEN m %% 2 = 1 THEN 'user' ELSE 'assistant' END,
           left('message ' || m || ' of ' || c || E'\\n\\n' || repeat(md5(c || '/' || m) || ' and **so** on. ', 20),
                %(characters)s) || ' end ' || m,
           CASE WHEN m %% 2 = 0 THEN md5(%(name)s || '-r' || c || '/' || m)::uuid END, {_AT}
    FROM generate_series(0, %(conversations)s - 1) c, generate_series(1, %(messages)s) m
    """,
    f"""
    INSERT INTO chat_request (id, owner_id, conversation_id, user_message_id, idempotency_key, model, status, attempt,
                              available_at, deadline_at, created_at, started_at, ended_at, finish)
    SELECT md5(%(name)s || '-r' || c || '/' || m)::uuid, {_OWNER}, md5(%(name)s || '-c' || c)::uuid,
           md5(%(name)s || '-m' || c || '/' || m - 1)::uuid, %(name)s || c || '/' || m, 'demo/simulator', 'succeeded',
           1, {_AT}, {_AT}, {_AT}, {_AT}, {_AT}, 'stop'
    FROM generate_series(0, %(conversations)s - 1) c, generate_series(2, %(messages)s, 2) m
    """,
    f"""
    INSERT INTO request_attempt (request_id, attempt, worker_id, started_at, ended_at, outcome)
    SELECT md5(%(name)s || '-r' || c || '/' || m)::uuid, 1, md5(%(name)s)::uuid, {_AT}, {_AT}, 'succeeded'
    FROM generate_series(0, %(conversations)s - 1) c, generate_series(2, %(messages)s, 2) m
    """,
)


def queue(database_url: str, number: int, *, text: str, model: str = "demo/simulator") -> list[UUID]:
    """Store a question of each of `number` people, as `submit` does, in the lane LANE."""
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_QUEUE, {"number": number, "text": text, "model": model, "lane": LANE})
            return [UUID(row[0]) for row in cursor.fetchall()]
    finally:
        connection.close()


#: The lane of the demo model.
LANE = "demo"
_QUEUE = """
    WITH person AS (
        SELECT gen_random_uuid() AS conversation_id, gen_random_uuid() AS message_id, gen_random_uuid() AS request_id,
               'browser:' || gen_random_uuid() AS owner_id
        FROM generate_series(1, %(number)s)
    ), talk AS (
        INSERT INTO conversation (id, owner_id, title, leaf_id)
        SELECT conversation_id, owner_id, 'short', message_id FROM person
    ), request AS (
        INSERT INTO chat_request (id, owner_id, conversation_id, user_message_id, idempotency_key, model, status,
                                  deadline_at, lane)
        SELECT request_id, owner_id, conversation_id, message_id, request_id::text, %(model)s, 'queued',
               clock_timestamp() + interval '30 min', %(lane)s
        FROM person
    ), asked AS (
        INSERT INTO message (id, conversation_id, role, content)
        SELECT message_id, conversation_id, 'user', %(text)s FROM person
    )
    SELECT request_id::text FROM person
"""
