"""A person, for crash tests: asks as the page does, and looks at rows and provider calls."""

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
from tests.stack import Stack, wait_until
from workers.simulator import text_for as full_text

OWNER = Owner("browser", "alice")
__all__ = ["Person", "full_text"]


@dataclass
class Person:
    """Asks in a conversation of her own each time. Close her dispatcher at the end: use `with`."""

    stack: Stack
    engine: Engine
    asked: list[UUID] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.dispatcher = Dispatcher(self.stack.settings, self.engine)
        return self

    def __exit__(self, *_: object) -> None:
        self.dispatcher.close()

    def ask(self, words: str, *, hint: bool = True, key: str | None = None, conversation: UUID | None = None) -> UUID:
        """Store a question and send its hint; the request's id."""
        submitted = lifecycle.submit(
            self.engine,
            Question(
                owner=OWNER,
                conversation_id=conversation or uuid4(),
                text=words,
                idempotency_key=key or str(uuid4()),
            ),
            deadline_seconds=self.stack.settings.deadline_seconds,
            max_characters=self.stack.settings.max_question_characters,
        )
        if hint:
            self.dispatcher.send(submitted.request_id)
        self.asked.append(submitted.request_id)
        return submitted.request_id

    def stop(self, request_id: UUID) -> Status:
        """Press stop."""
        return lifecycle.stop(self.engine, request_id, owner=OWNER)

    def row(self, request_id: UUID) -> Any:
        """The request's row."""
        with transaction(self.engine) as connection:
            return connection.execute(select(chat_request).where(chat_request.c.id == request_id)).one()

    def status(self, request_id: UUID) -> Status:
        """Its status."""
        return Status(self.row(request_id).status)

    def wait_running(self, request_id: UUID, *, attempt: int = 1, seconds: float = 20) -> Any:
        """Wait until this attempt runs; its row."""

        def found() -> Any:
            row = self.row(request_id)
            return row if row.status == Status.RUNNING and row.attempt >= attempt else None

        return wait_until(found, seconds=seconds, what=f"attempt {attempt} runs")

    def wait_text(self, request_id: UUID, *, seconds: float = 20) -> None:
        """Wait until the live stream has some text of it."""
        with self.stack.redis_client() as redis:
            wait_until(
                lambda: any("d" in fields for _, fields in redis.xrange(f"naru:live:{request_id}")),
                seconds=seconds,
                what="the first words",
            )

    def wait_end(self, request_id: UUID, *, seconds: float = 30) -> Any:
        """Wait until it ended; its row."""
        return wait_until(
            lambda: (row := self.row(request_id)).status in TERMINAL and row, seconds=seconds, what="the request ends"
        )

    def answers(self, request_id: UUID) -> list[str]:
        """The stored answers of a request: one, whatever happened."""
        with transaction(self.engine) as connection:
            rows = connection.execute(select(message.c.content).where(message.c.request_id == request_id))
            return list(rows.scalars())

    def worker_pid(self, request_id: UUID) -> int | None:
        """The process that runs it now."""
        with transaction(self.engine) as connection:
            found = connection.execute(
                text("SELECT pid FROM worker JOIN chat_request r ON r.worker_id = worker.id WHERE r.id = :id"),
                {"id": request_id},
            ).scalar_one_or_none()
            return None if found is None else int(found)

    def calls(self, request_id: UUID, event: str = "start") -> list[float]:
        """When this event of this request's calls happened, by the simulator's own log."""
        if not self.stack.calls_log.exists():
            return []
        lines = [json.loads(line) for line in self.stack.calls_log.read_text().splitlines()]
        return [line["at"] for line in lines if line["trace"] == str(request_id) and line["event"] == event]
