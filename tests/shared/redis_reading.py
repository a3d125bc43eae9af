"""A reader of a live stream. It follows the rule in shared/live/events.py and uses no other code of the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis

from shared.live.events import Event, Kind, from_fields, key_of


@dataclass
class Reader:
    """The view of someone who reads the stream from its beginning: the newest attempt's text, without gaps."""

    attempt: int = 0
    text: str = ""
    ended: str = ""
    gaps: int = 0

    def fold(self, event: Event) -> None:
        """Apply one entry."""
        if event.kind is Kind.END:
            self.ended = event.text
        if event.attempt > self.attempt:
            self.attempt, self.text = event.attempt, ""
        if event.attempt < self.attempt or event.kind in (Kind.START, Kind.THOUGHT, Kind.END):
            return
        if event.offset > len(self.text):
            self.gaps += 1
            return
        if len(event.text) + event.offset > len(self.text):
            self.text += event.text[len(self.text) - event.offset :]


def entries(client: redis.Redis, request_id: UUID) -> list[Event]:
    """Return all entries that the stream holds now."""
    found: Any = client.xrange(key_of(request_id))
    events = [from_fields(fields) for _, fields in found]
    assert None not in events
    return [event for event in events if event is not None]


def read(client: redis.Redis, request_id: UUID) -> Reader:
    """Read the stream from its beginning; return the reader."""
    reader = Reader()
    for event in entries(client, request_id):
        reader.fold(event)
    return reader
