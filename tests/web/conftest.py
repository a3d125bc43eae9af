"""What the tests of the frame share: a web process, a worker's hand, and eyes that are closed after the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol
from uuid import UUID

import pytest
from sqlalchemy import Engine

from tests.stack import Process, Stack
from tests.web.eyes import OPENED, Eye, Hand


class Look(Protocol):
    """Makes an eye, not yet open."""

    def __call__(self, conversation_id: UUID, cookie: str, *, last_id: str = "") -> Eye: ...


@pytest.fixture
def web(stack: Stack) -> Process:
    """The web process."""
    return stack.start_web()


@pytest.fixture
def hand(stack: Stack, engine: Engine) -> Iterator[Hand]:
    """A worker that the test plays; not yet in the fleet."""
    made = Hand(stack, engine)
    yield made
    made.redis.close()


@pytest.fixture
def look(web: Process) -> Look:
    """Eyes on the web process."""

    def made(conversation_id: UUID, cookie: str, *, last_id: str = "") -> Eye:
        return Eye(web.url, conversation_id, cookie, last_id=last_id)

    return made


@pytest.fixture(autouse=True)
def _closed_eyes() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()
