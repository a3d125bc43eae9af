"""Fixtures of the web tests: a web process, a fake worker, and event readers that are closed after the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from uuid import UUID

import pytest
from sqlalchemy import Engine

from tests.stack import Process, Stack
from tests.web.clients import OPENED, EventReader
from tests.web.fake_worker import FakeWorker


class Look(Protocol):
    """Makes an event reader that is not open yet."""

    def __call__(self, conversation_id: UUID, cookie: str, *, last_id: str = "") -> EventReader: ...


@pytest.fixture
def web(stack: Stack) -> Process:
    """Start the web process."""
    return stack.start_web()


@pytest.fixture
def fake_worker(stack: Stack, engine: Engine) -> Iterator[FakeWorker]:
    """Yield a fake worker that has not joined the fleet yet."""
    made = FakeWorker(stack, engine)
    yield made
    made.redis.close()


@pytest.fixture
def look(web: Process) -> Look:
    """Return a function that makes event readers of the web process."""

    def made(conversation_id: UUID, cookie: str, *, last_id: str = "") -> EventReader:
        return EventReader(web.url, conversation_id, cookie, last_id=last_id)

    return made


@pytest.fixture(autouse=True)
def _closed_readers() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()
