"""Tests that an idle page costs next to nothing: few sweeps, and a notice or a new viewer wakes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from shared.following.sweep import sweep
from shared.people import Owner
from shared.settings import Settings
from tests.patience import patient
from tests.stack import Stack
from tests.web.clients import browser
from tests.web.conftest import Look
from tests.web.fake_worker import FakeWorker
from web.watch import watcher as watcher_module
from web.watch.watcher import SWEEP_SECONDS, Watcher

OWNER = Owner("browser", "alice")
ROUNDS = 4


class Watching:
    """A watcher on real servers, and the conversations that each of its sweeps asked for."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.watcher = Watcher(settings, engine)
        self.asked: list[list[UUID]] = []

    def enter(self, conversation_id: UUID) -> None:
        self.watcher.enter(conversation_id, owner=OWNER, client="", cursor=None)

    def times(self, conversation_id: UUID) -> int:
        """The number of sweeps that asked for this conversation."""
        return sum(conversation_id in asked for asked in self.asked)


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[list[UUID]]:
    """Return the list of the conversations of each sweep."""
    asked: list[list[UUID]] = []
    real = sweep

    def noting(engine: Engine, conversations: list[UUID], **rest: Any) -> Any:
        asked.append(list(conversations))
        return real(engine, conversations, **rest)

    monkeypatch.setattr(watcher_module, "sweep", noting)
    return asked


@asynccontextmanager
async def watching(settings: Settings, engine: Engine, asked: list[list[UUID]]) -> AsyncIterator[Watching]:
    made = Watching(settings, engine)
    made.asked = asked
    made.watcher.start()
    try:
        yield made
    finally:
        await made.watcher.close()


async def until(condition: Callable[[], object], *, seconds: float = 8.0) -> None:
    limit = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < limit, "not in time"
        await asyncio.sleep(0.02)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_idle_page_is_swept_once_and_an_active_one_each_second(
    stack: Stack, engine: Engine, fake_worker: FakeWorker, swept: list[list[UUID]]
) -> None:
    idle = uuid4()
    active, _ = fake_worker.question(OWNER)

    async def work() -> None:
        async with watching(stack.settings, engine, swept) as at:
            at.enter(idle)
            at.enter(active)
            await until(lambda: at.times(active) >= ROUNDS)
            assert at.times(idle) == 1
            at.enter(idle)
            await until(lambda: at.times(idle) == 2)
            at.watcher.nudge(idle)
            await until(lambda: at.times(idle) == 3)
            at.watcher.nudge_all()
            await until(lambda: at.times(idle) == 4)

    run(work)


def test_idle_pages_take_turns(
    stack: Stack, engine: Engine, swept: list[list[UUID]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is swept again after the idle time, and no sweep takes them all."""
    monkeypatch.setattr(watcher_module, "IDLE_SWEEP_SECONDS", 4 * SWEEP_SECONDS)
    monkeypatch.setattr(watcher_module, "IDLE_AT_ONCE", 3)
    pages = [uuid4() for _ in range(8)]

    async def work() -> None:
        async with watching(stack.settings, engine, swept) as at:
            for page in pages:
                at.enter(page)
            await until(lambda: all(at.times(page) >= 3 for page in pages), seconds=20)
            assert [len(asked) for asked in at.asked[1:] if len(asked) > 4] == []

    run(work)


def test_idle_page_learns_that_postgres_is_back(stack: Stack, engine: Engine, swept: list[list[UUID]]) -> None:
    page, is_away = uuid4(), [False]

    def refuse(*_: Any) -> None:
        if is_away[0]:
            raise OperationalError("", None, Exception("away"))

    event.listen(engine, "before_cursor_execute", refuse)

    async def work() -> None:
        async with watching(stack.settings, engine, swept) as at:
            at.enter(page)
            await until(lambda: at.times(page) == 1)
            is_away[0] = True
            at.watcher.nudge(page)
            await until(lambda: at.watcher.is_postgres_away)
            is_away[0] = False
            await until(lambda: not at.watcher.is_postgres_away)
            assert at.times(page) >= 2

    run(work)


def test_question_from_elsewhere_wakes_an_idle_page(stack: Stack, look: Look, fake_worker: FakeWorker) -> None:
    """Well before the page's next turn: other processes announce a question and an end."""
    fake_worker.enter()
    owner, cookie = browser(stack)
    conversation_id = uuid4()
    reader = look(conversation_id, cookie).open()
    reader.until(lambda reader: reader.state().get("phase") == "idle")
    time.sleep(2 * SWEEP_SECONDS)
    _, request_id = fake_worker.question(owner, conversation_id)
    reader.until(lambda reader: reader.state()["phase"] == "next", seconds=5)
    claimed = fake_worker.claim(request_id)
    fake_worker.finish(claimed, "done")
    reader.until(lambda reader: reader.ends(), seconds=5)
    assert reader.ends()[0]["status"] == "succeeded"
