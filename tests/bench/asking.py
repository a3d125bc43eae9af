"""Browsers with an identity, which store and hint their questions exactly as the page does.

The page calls the same two functions in the web process; here they run in the bench's own process.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID, uuid4

from sqlalchemy import select

from shared import lifecycle
from shared.lifecycle import OwnerLimits, Question, Submitted
from shared.people import Owner
from shared.postgres.database import make_engine, transaction
from shared.queue import Dispatcher
from shared.settings import Settings
from shared.tables import Status, chat_request, message, worker
from tests.signed_in import new_owner

THREADS = 16


@dataclass(frozen=True, slots=True)
class Page:
    """One browser with one conversation open."""

    owner: Owner
    cookie: str
    conversation_id: UUID


class Asker:
    """A context manager that sends questions."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.engine = make_engine(settings, name="naru-bench")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ask")

    def __enter__(self) -> Self:
        self._dispatcher = Dispatcher(self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown()
        self._dispatcher.close()
        self.engine.dispose()

    def page(self, *, like: Page | None = None) -> Page:
        """Make an empty conversation, in a new browser or in the browser of another page."""
        if like is not None:
            return replace(like, conversation_id=uuid4())
        return Page(*new_owner(self.engine, self._settings), uuid4())

    async def ask(self, page: Page, words: str, *, model: str = "") -> UUID:
        """Submit a question as Enter does; return its request id once it is stored."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self.submit(page, words, model=model)
        )

    def submit(self, page: Page, words: str, *, model: str = "") -> UUID:
        """Store a question and send its hint, in the calling thread."""
        submitted = self.store(page, words, model=model)
        self.hint(submitted.lane)
        return submitted.request_id

    def store(self, page: Page, words: str, *, model: str = "") -> Submitted:
        """Store the question without a hint; a tick sends one within a second."""
        question = Question(
            owner=page.owner,
            conversation_id=page.conversation_id,
            text=words,
            idempotency_key=str(uuid4()),
            model=model,
        )
        return lifecycle.submit(
            self.engine,
            question,
            deadline_seconds=self._settings.deadline_seconds,
            max_characters=self._settings.max_question_characters,
            limits=OwnerLimits.of(self._settings),
        )

    def hint(self, lane: str) -> None:
        """Send a hint in the background."""
        self._dispatcher.send(lane)

    async def stop(self, page: Page, request_id: UUID) -> None:
        """Stop a request through the lifecycle, without a web process."""
        work = asyncio.get_running_loop()
        await work.run_in_executor(self._threads, lambda: lifecycle.stop(self.engine, request_id, owner=page.owner))

    def row(self, request_id: UUID) -> tuple[Status, int]:
        """Return a request's status and attempt."""
        with transaction(self.engine) as connection:
            c = chat_request.c
            row = connection.execute(select(c.status, c.attempt).where(c.id == request_id)).one()
        return Status(row.status), int(row.attempt)

    def worker_pid(self, request_id: object) -> int | None:
        """Return the id of the worker process that runs the request; None if none does."""
        c = chat_request.c
        asked = select(worker.c.pid).join(chat_request, c.worker_id == worker.c.id)
        with transaction(self.engine) as connection:
            pid: int | None = connection.execute(asked.where(c.id == request_id)).scalar_one_or_none()
        return pid

    def stored(self, request_id: UUID) -> list[str]:
        """Return the stored answers of a request; exactly one if all is well."""
        with transaction(self.engine) as connection:
            found = connection.execute(select(message.c.content).where(message.c.request_id == request_id))
            return list(found.scalars())
