"""Tests of the order of a viewer's events, and of the conversations that a sweep may follow."""

from __future__ import annotations

import asyncio
import re
from uuid import UUID, uuid4

from sqlalchemy import Engine

from shared.following.sweep import Row
from shared.people import Owner
from shared.settings import Settings
from web.watch.viewer import Conversation, LiveStream, Viewer
from web.watch.watcher import Watcher

OWNER = Owner("browser", "alice")


def row(conversation_id: UUID, request_id: UUID, status: str) -> Row:
    return Row(
        conversation_id=conversation_id,
        owner=OWNER,
        request_id=request_id,
        status=status,
        attempt=1,
        code=None,
        since_seconds=0.0,
        retry_in_seconds=0.0,
        position=None,
        expected_seconds=None,
        free_slots=1,
        workers=1,
        missed_text=None,
    )


def names(sent: bytes) -> list[str]:
    return re.findall(r"^event: (\w+)$", sent.decode(), re.MULTILINE)


def test_last_words_precede_the_idle_state() -> None:
    conversation = Conversation(uuid4())
    request_id = uuid4()
    conversation.owner = OWNER
    conversation.row = row(conversation.id, request_id, "running")
    stream = conversation.stream = LiveStream(request_id, conversation, now=0.0)
    viewer = Viewer(conversation, owner=OWNER, client="", cursor=None, now=0.0)
    stream.text.delta(1, 0, "almost ")
    conversation.refresh(slow=False)
    assert names(viewer.collect(0.0, keep_alive_seconds=10)) == ["state", "snapshot"]
    stream.text.delta(1, 7, "all")
    conversation.row = row(conversation.id, request_id, "succeeded")
    conversation.stream = None
    conversation.note_end(conversation.row, stream)
    conversation.refresh(slow=False)
    assert names(viewer.collect(0.0, keep_alive_seconds=10)) == ["delta", "end", "state"]


def test_follow_ignores_a_conversation_without_viewers(settings: Settings, engine: Engine) -> None:
    async def followed() -> list[LiveStream]:
        watcher = Watcher(settings, engine)
        conversation_id = uuid4()
        left = watcher.enter(conversation_id, owner=OWNER, client="", cursor=None)
        watcher.leave(left)
        watcher.enter(conversation_id, owner=OWNER, client="", cursor=None)
        watcher._follow(left.conversation, row(conversation_id, uuid4(), "running"))
        await watcher.close()
        (reader,) = watcher._readers._readers
        return [*reader._without_text._streams.values(), *reader._with_text._streams.values()]

    assert asyncio.run(followed()) == []
