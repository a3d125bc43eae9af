"""A person for the crash tests, who asks as the page does. Reads rows and provider calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID, uuid4

from sqlalchemy import Engine, select, text

from shared import lifecycle
from shared.lifecycle import Question
from shared.people import Owner
from shared.postgres.database import transaction
from shared.queue import Dispatcher
from shared.tables import TERMINAL, Status, chat_request, message
from shared.tuning import NO_TUNING, Tuning
from tests.stack import Stack, wait_until
from workers.simulator import text_for as full_text

OWNER = Owner("browser", "alice")
__all__ = ["Person", "full_text"]


@dataclass
class Person:
    """A person who asks, by default in a new conversation each time. Use `with`, which closes the dispatcher."""

    stack: Stack
    engine: Engine
    asked: list[UUID] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.dispatcher = Dispatcher(self.stack.settings)
        return self

    def __exit__(self, *_: object) -> None:
        self.dispatcher.close()

    def ask(
        self,
        words: str,
        *,
        hint: bool = True,
        key: str | None = None,
        conversation: UUID | None = None,
        model: str = "",
        tuning: Tuning = NO_TUNING,
    ) -> UUID:
        """Store a question and send its hint; return the request's id."""
        submitted = lifecycle.submit(
            self.engine,
            Question(
                owner=OWNER,
                conversation_id=conversation or uuid4(),
                text=words,
                idempotency_key=key or str(uuid4()),
                model=model,
                tuning=tuning,
            ),
            deadline_seconds=self.stack.settings.deadline_seconds,
            max_characters=self.stack.settings.max_question_characters,
        )
        if hint:
            self.dispatcher.send(submitted.lane)
        self.asked.append(submitted.request_id)
        return submitted.request_id

    def stop(self, request_id: UUID) -> Status:
        """Press Stop; return the request's status."""
        return lifecycle.stop(self.engine, request_id, owner=OWNER)

    def row(self, request_id: UUID) -> Any:
        """Return the request's row."""
        with transaction(self.engine) as connection:
            return connection.execute(select(chat_request).where(chat_request.c.id == request_id)).one()

    def status(self, request_id: UUID) -> Status:
        """Return the request's status."""
        return Status(self.row(request_id).status)

    def wait_running(self, request_id: UUID, *, attempt: int = 1, seconds: float = 20) -> Any:
        """Wait until this attempt or a later one runs; return the row."""

        def found() -> Any:
            row = self.row(request_id)
            return row if row.status == Status.RUNNING and row.attempt >= attempt else None

        return wait_until(found, seconds=seconds, what=f"attempt {attempt} runs")

    def wait_text(self, request_id: UUID, *, seconds: float = 20) -> None:
        """Wait until the request's live stream has text."""
        with self.stack.redis_client() as redis:
            wait_until(
                lambda: any("d" in fields for _, fields in redis.xrange(f"naru:live:{request_id}")),
                seconds=seconds,
                what="the first words",
            )

    def wait_end(self, request_id: UUID, *, seconds: float = 30) -> Any:
        """Wait until the request has ended; return the row."""
        return wait_until(
            lambda: (row := self.row(request_id)).status in TERMINAL and row, seconds=seconds, what="the request ends"
        )

    def answers(self, request_id: UUID) -> list[str]:
        """Return the stored answers of a request. An ended request must have exactly one."""
        with transaction(self.engine) as connection:
            rows = connection.execute(select(message.c.content).where(message.c.request_id == request_id))
            return list(rows.scalars())

    def worker_pid(self, request_id: UUID) -> int | None:
        """Return the pid of the worker that runs the request, or None."""
        with transaction(self.engine) as connection:
            found = connection.execute(
                text("SELECT pid FROM worker JOIN chat_request r ON r.worker_id = worker.id WHERE r.id = :id"),
                {"id": request_id},
            ).scalar_one_or_none()
            return None if found is None else int(found)

    def most_calls_at_once(self) -> int:
        """Return the largest number of calls in flight at the provider, from the simulator's log."""
        lines = [json.loads(line) for line in self.stack.calls_log.read_text().splitlines()]
        under_way: set[int] = set()
        most = 0
        for line in lines:
            if line["event"] == "start":
                under_way.add(line["call"])
                most = max(most, len(under_way))
            if line["event"] in {"end", "closed", "refused"}:
                under_way.discard(line["call"])
        return most

    def calls(self, request_id: UUID, event: str = "start") -> list[float]:
        """Return the times of this event in the request's calls, from the simulator's log."""
        if not self.stack.calls_log.exists():
            return []
        lines = [json.loads(line) for line in self.stack.calls_log.read_text().splitlines()]
        return [line["at"] for line in lines if line["trace"] == str(request_id) and line["event"] == event]
