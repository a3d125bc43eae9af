"""The entries of a request's live stream in Redis: their shape, their key, and nothing that talks to Redis.

    start     attempt                    a new attempt begins; its text is empty
    delta     attempt, offset, text      `text` stands at `offset` of the attempt's text
    snapshot  attempt, text              the whole text so far; everything before it may be trimmed
    end       attempt, status            the row is terminal; what the row says is what stays

The offset is a position in Unicode code points (Python's `len`). A reader keeps (attempt, offset) and the text: an
older attempt is dropped, a newer one starts over, a delta at its offset is appended, one that overlaps is cut,
one beyond it is a gap. So doubled delivery is harmless and a hole cannot be shown.

On the wire an entry is one field: its name says the kind, its value is "attempt offset text" (decision 0024).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

#: Every key of ours begins so.
PREFIX = "naru:"
#: A stream of one entry, which each flush of a worker replaces: who follows many live streams waits for this one.
FLUSHES = f"{PREFIX}flushes"


class Kind(StrEnum):
    """What an entry says; one letter on the wire, the field's name."""

    START = "s"
    DELTA = "d"
    SNAPSHOT = "n"
    END = "e"


class Event(NamedTuple):
    """One entry. `offset` is 0 but for deltas; `text` is the status of an end and empty of a start."""

    kind: Kind
    attempt: int
    offset: int = 0
    text: str = ""


_KINDS = {kind.value: kind for kind in Kind}


def key_of(request_id: UUID) -> str:
    """The Redis key of a request's stream."""
    return f"{PREFIX}live:{request_id}"


def to_value(event: Event) -> str:
    """The value of the entry's one field; its name is the kind."""
    return f"{event.attempt} {event.offset} {event.text}"


def from_fields(fields: dict[str, str]) -> Event | None:
    """The event of an entry; None when it is not one of ours."""
    return from_entry(tuple(*fields.items())) if len(fields) == 1 else None


def from_entry(words: Sequence[str]) -> Event | None:
    """The same of an entry as Redis gives it: names and values in turn."""
    try:
        kind, value = words
        attempt, offset, text = value.split(" ", 2)
        return Event(_KINDS[kind], int(attempt), int(offset), text)
    except (KeyError, ValueError):
        return None
