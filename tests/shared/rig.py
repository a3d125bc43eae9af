"""The rig of the lifecycle tests: submits questions, registers workers, claims requests and lets time pass.

Time passes by changing the times in the rows, never by sleeping. Rows are read with plain SQL, not with the
lifecycle's functions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, Table, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import fleet, lifecycle
from shared.errors import Unavailable
from shared.fleet import Member, Model
from shared.lifecycle import Answer, Claimant, Claimed, OwnerLimits, Question, Submitted, lanes
from shared.mercy import mercy_seconds
from shared.people import Owner, groups
from shared.reconciler import Repairs, tick
from shared.tables import chat_request, conversation, message, person, reconciler_tick, request_attempt, worker
from tests.stack import wait_until

OWNER = Owner("browser", "alice")
STRANGER = Owner("browser", "mallory")
MODEL = "demo/echo"
NO_LIMITS = OwnerLimits()
#: The lease that the ticks of these tests assume.
LEASE_SECONDS = 6.0


def outlast_mercy(engine: Engine) -> None:
    """Wait until the mercy after the start of Postgres is over: until then the reconciler marks no worker lost."""
    age = text("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
    mercy = mercy_seconds(LEASE_SECONDS)
    with engine.connect() as connection:
        wait_until(lambda: connection.execute(age).scalar_one() > mercy, seconds=2 * mercy, what="mercy is over")


#: All requests, each with its answer and its attempts.
EVERYTHING = text(
    """
    SELECT r.*, m.content AS answer, c.leaf_id, m.id AS answer_id,
           (SELECT count(*) FROM message WHERE request_id = r.id) AS answers,
           (SELECT json_agg(json_build_array(attempt, outcome, ended_at IS NOT NULL) ORDER BY attempt)
              FROM request_attempt WHERE request_id = r.id) AS attempts
      FROM chat_request r JOIN conversation c ON c.id = r.conversation_id LEFT JOIN message m ON m.request_id = r.id
     ORDER BY r.created_at
    """
)

#: Rows that one statement makes within its time limit.
MADE_AT_ONCE = 1_000


#: Makes `:count` requests in conversations and of owners of their own.
_FILL = text(
    """
    WITH made AS (INSERT INTO conversation (id, owner_id, title)
                  SELECT gen_random_uuid(), gen_random_uuid()::text, 'x' FROM generate_series(1, :count)
                  RETURNING id, owner_id),
         asked AS (INSERT INTO message (id, conversation_id, role, content)
                   SELECT gen_random_uuid(), id, 'user', 'x' FROM made RETURNING id, conversation_id)
    INSERT INTO chat_request (id, owner_id, conversation_id, user_message_id, idempotency_key, model, lane,
                              status, attempt, worker_id, available_at, deadline_at)
    SELECT gen_random_uuid(), made.owner_id, made.id, asked.id, asked.id::text, 'demo/echo', 'demo',
           :status, CASE :status WHEN 'running' THEN 1 ELSE 0 END, CAST(:worker AS uuid),
           clock_timestamp() - make_interval(secs => :seconds), clock_timestamp() + interval '1 hour'
    FROM asked JOIN made ON made.id = asked.conversation_id
    """
)


def claim_only(engine: Engine, request_id: UUID, claimant: Claimant, *, may_be_suspect: bool = False) -> Claimed | None:
    """Claim this request, which is alone in a lane of its own meanwhile; return None when it cannot be claimed."""
    this, alone = chat_request.c.id == request_id, f"only/{request_id}"
    with engine.begin() as connection:
        lane = connection.execute(select(chat_request.c.lane).where(this)).scalar_one_or_none()
        connection.execute(update(chat_request).where(this).values(lane=alone))
    claimed = lifecycle.claim(engine, alone, claimant, may_be_suspect=may_be_suspect)
    if lane is None:
        return claimed
    with engine.begin() as connection:
        connection.execute(update(chat_request).where(this).values(lane=lane))
    return None if claimed is None else replace(claimed, lane=lane)


def make_person(engine: Engine, *names: str) -> Owner:
    """Make an account in these groups."""
    person_id = uuid4()
    values = {"id": person_id, "email": f"{person_id}@example.org", "role": "user", "password_hash": "-"}
    with engine.begin() as connection:
        connection.execute(insert(person).values(values))
    for name in names:
        groups.join(engine, person_id, name)
    return Owner.person(person_id)


@dataclass(frozen=True)
class RequestRig:
    """The lifecycle's functions on one database, with defaults for arguments that most tests do not care about."""

    engine: Engine
    #: An engine at Postgres itself, where `engine` leads to a pooler.
    direct: Engine | None = None

    @property
    def listening(self) -> Engine:
        """The engine for LISTEN, which does not work through a pooler."""
        return self.direct or self.engine

    def ask(
        self,
        words: str = "Why is the sky blue?",
        *,
        conversation_id: UUID | None = None,
        key: str | None = None,
        owner: Owner = OWNER,
        model: str = MODEL,
        regenerate: bool = False,
        deadline_seconds: float = 600.0,
        max_characters: int = 1000,
        limits: OwnerLimits = NO_LIMITS,
    ) -> Submitted:
        """Submit a question, by default in a new conversation."""
        question = Question(
            owner=owner,
            conversation_id=conversation_id or uuid4(),
            text=words,
            idempotency_key=key or str(uuid4()),
            model=model,
            regenerate=regenerate,
        )
        return lifecycle.submit(
            self.engine,
            question,
            deadline_seconds=deadline_seconds,
            max_characters=max_characters,
            limits=limits,
        )

    def worker(self, *models: str, lease_seconds: float = 60.0, slots: int = 4) -> UUID:
        """Register a worker with a fresh lease; return its id."""
        worker_id = uuid4()
        offered = [Model(name=name, demo=False) for name in models or (MODEL,)]
        member = Member(worker_id=worker_id, host="here", pid=1, version="test", slots=slots, models=offered)
        fleet.register(self.engine, member, lease_seconds=lease_seconds)
        return worker_id

    def claim_from(
        self,
        lane: str,
        worker_id: UUID,
        *,
        models: Sequence[str] = (MODEL,),
        owner_running: int = 0,
        may_be_suspect: bool = False,
    ) -> Claimed | None:
        """Claim the fairest request of a lane; return None when there is none."""
        claimant = Claimant(worker_id=worker_id, models=models, owner_running=owner_running)
        return lifecycle.claim(self.engine, lane, claimant, may_be_suspect=may_be_suspect)

    def serve(self, lane: str, *, room: int, most_running: int | None = None) -> UUID:
        """Register a worker that serves this lane and has `room` free slots; return its id."""
        worker_id = self.worker(f"{lane}/echo", slots=room)
        lanes.register(self.engine, [lane.partition("/")[0]], {} if most_running is None else {lane: most_running})
        with self.begin() as connection:
            assert fleet.renew(connection, worker_id, lease_seconds=60, consumed=True, free={lane: room})
        return worker_id

    def limit(self, name: str, most_running: int) -> None:
        """Limit the answers of a lane that run at once."""
        lanes.register(self.engine, [name.partition("/")[0]], {name: most_running})

    def try_claim(
        self, request_id: UUID, worker_id: UUID, *, models: Sequence[str] = (MODEL,), may_be_suspect: bool = False
    ) -> Claimed | None:
        """Claim this request, alone in a lane of its own meanwhile; return None when it cannot be claimed."""
        claimant = Claimant(worker_id=worker_id, models=models)
        return claim_only(self.engine, request_id, claimant, may_be_suspect=may_be_suspect)

    def claim(self, request_id: UUID, worker_id: UUID, *, may_be_suspect: bool = False) -> Claimed:
        """Claim a request that must be claimable."""
        claimed = self.try_claim(request_id, worker_id, may_be_suspect=may_be_suspect)
        assert claimed is not None
        return claimed

    def running(self, words: str = "Why?", *, worker_id: UUID | None = None) -> Claimed:
        """Submit a question and claim it."""
        return self.claim(self.ask(words).request_id, worker_id or self.worker())

    def answered(self, words: str = "Why?", reply: str = "Because.", *, conversation_id: UUID | None = None) -> UUID:
        """Submit a question and answer it; return the request's id."""
        submitted = self.ask(words, conversation_id=conversation_id)
        assert lifecycle.finish(self.engine, self.claim(submitted.request_id, self.worker()), Answer(text=reply))
        return submitted.request_id

    def begin(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that commits at its end."""
        return self.engine.begin()

    def rows(self, table: Table, **where: object) -> list[dict[str, Any]]:
        """Return the rows of a table with these values."""
        conditions = [table.c[name] == value for name, value in where.items()]
        with self.begin() as connection:
            return [dict(row) for row in connection.execute(select(table).where(*conditions)).mappings()]

    def row(self, request_id: UUID) -> dict[str, Any]:
        """Return the request's row."""
        (row,) = self.rows(chat_request, id=request_id)
        return row

    def is_seen(self, row: dict[str, Any]) -> bool:
        """Return whether somebody may have seen text of this request's answer."""
        attempts = self.rows(request_attempt, request_id=row["id"])
        return row["broken_streams"] > 0 or any(each["checkpoint"] for each in attempts)

    def attempt(self, request_id: UUID, number: int) -> dict[str, Any]:
        """Return the row of one attempt."""
        (row,) = self.rows(request_attempt, request_id=request_id, attempt=number)
        return row

    def answer_of(self, request_id: UUID) -> str | None:
        """Return the text of the request's answer, or None when it has none."""
        found = self.rows(message, request_id=request_id)
        assert len(found) <= 1, "a request has at most one answer"
        return str(found[0]["content"]) if found else None

    def count(self, table: Table) -> int:
        """Return the number of rows of a table."""
        with self.begin() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()

    def stored(self) -> tuple[int, int, int]:
        """Return the number of conversations, messages and requests."""
        return self.count(conversation), self.count(message), self.count(chat_request)

    def put(self, request_id: UUID, **values: object) -> None:
        """Set columns of a request, to reach immediately a state that would take long."""
        with self.begin() as connection:
            connection.execute(update(chat_request).where(chat_request.c.id == request_id).values(**values))

    def ago(self, seconds: float) -> Any:
        """Return the time `seconds` ago by Postgres's clock, as SQL; a negative value is in the future."""
        return func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)

    def expire_lease(self, worker_id: UUID) -> None:
        """Let this worker's lease run out."""
        times = {"lease_expires_at": self.ago(0.01), "renewed_at": self.ago(LEASE_SECONDS)}
        with self.begin() as connection:
            connection.execute(update(worker).where(worker.c.id == worker_id).values(**times))

    def let_workers_renew(self) -> None:
        """Let the workers with a lease renew it, and move earlier losses apart from later ones."""
        w = worker.c
        with self.begin() as connection:
            connection.execute(
                update(worker)
                .where(w.lost_at.is_(None), w.lease_expires_at > self.ago(0))
                .values(renewed_at=self.ago(0))
            )
            connection.execute(update(worker).values(lost_at=w.lost_at - timedelta(seconds=LEASE_SECONDS)))

    def ticked(
        self, *, seconds_ago: float = 0.1, mercy_for: float | None = None, by_previous_version: bool = False
    ) -> None:
        """Set the last tick's time, and how long mercy lasts from now (None: no mercy)."""
        values = {"ticked_at": self.ago(seconds_ago), "mercy_until": mercy_for and self.ago(-mercy_for)}
        values |= {} if by_previous_version else {"lanes_ticked_at": self.ago(seconds_ago)}
        put = upsert(reconciler_tick).values(id=1, **values)
        with self.begin() as connection:
            # One statement: a Ticker's first tick could come between two.
            connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=values))

    def tick(self, *, stop_patience_seconds: float = 3.0, queue_questions: int = 0) -> Repairs:
        """Run one tick as if another process had ticked just before, so without mercy."""
        self.ticked()
        self.let_workers_renew()
        return self.tick_as_is(stop_patience_seconds=stop_patience_seconds, queue_questions=queue_questions)

    def tick_as_is(self, *, stop_patience_seconds: float = 3.0, queue_questions: int = 0) -> Repairs:
        """Run one tick; run it again if this machine paused it for 2 s, so that Postgres ended its transaction."""
        began = time.monotonic()

        def run() -> Repairs:
            repairs = tick(
                self.engine,
                stop_patience_seconds=stop_patience_seconds,
                lease_seconds=LEASE_SECONDS,
                queue_questions=queue_questions,
            )
            assert repairs is not None
            return repairs

        try:
            return run()
        except Unavailable:
            self._postpone_last_tick(time.monotonic() - began)
            return run()

    def _postpone_last_tick(self, seconds: float) -> None:
        """Move the last tick and its mercy, so that they are as far from now as they were."""
        t, by = reconciler_tick.c, timedelta(seconds=seconds)
        moved = {each.name: each + by for each in (t.ticked_at, t.lanes_ticked_at, t.mercy_until)}
        with self.begin() as connection:
            connection.execute(update(reconciler_tick).values(moved))

    def lose(self, *worker_ids: UUID) -> Repairs:
        """Let these workers' leases run out, and run one tick."""
        for worker_id in worker_ids:
            self.expire_lease(worker_id)
        return self.tick()

    def fill_with_running(self, worker_id: UUID, count: int) -> None:
        """Make `count` requests that this worker is answering."""
        self.running(worker_id=worker_id)
        self._fill(count - 1, status="running", worker=worker_id, seconds=0)

    def fill_with_queued(self, count: int, *, seconds: float = 1) -> None:
        """Make `count` requests of different people that have been due for so many seconds."""
        self._fill(count, status="queued", worker=None, seconds=seconds)

    def _fill(self, count: int, **values: object) -> None:
        for made in range(0, count, MADE_AT_ONCE):
            with self.begin() as connection:
                connection.execute(_FILL, {"count": min(MADE_AT_ONCE, count - made), **values})

    def lengthen(self, conversation_id: UUID, count: int) -> None:
        """Append `count` messages m1, m2, … to the conversation's branch."""
        (row,) = self.rows(conversation, id=conversation_id)
        ids = [uuid4() for _ in range(count)]
        values = [
            {"id": each, "conversation_id": conversation_id, "parent_id": parent, "role": "user", "content": f"m{n}"}
            for n, (each, parent) in enumerate(zip(ids, [row["leaf_id"], *ids[:-1]], strict=True), 1)
        ]
        with self.begin() as connection:
            connection.execute(insert(message), values)
            connection.execute(update(conversation).where(conversation.c.id == conversation_id).values(leaf_id=ids[-1]))

    def make_due(self, *request_ids: UUID) -> None:
        """Make these requests available now."""
        for request_id in request_ids:
            self.put(request_id, available_at=self.ago(0))

    def scalar(self, statement: str) -> Any:
        """Return the single value of a statement."""
        with self.begin() as connection:
            return connection.execute(text(statement)).scalar_one()
