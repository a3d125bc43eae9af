"""The entries of a request's live stream in Redis: their shape and their key. Does not talk to Redis.

    start     attempt                    a new attempt begins with an empty text
    delta     attempt, offset, text      `text` at `offset` of the attempt's text
    snapshot  attempt, text              the whole text so far; earlier entries may be trimmed
    thought   attempt, offset, ms        the model has thought for `ms` milliseconds, lately at `offset` of its text
    end       attempt, status            the request has ended; its row has the final answer

The offset is a position in Unicode code points (Python's `len`). A reader keeps (attempt, offset) and the text. It
drops an older attempt, starts over with a newer one, appends a delta at its offset, cuts one that overlaps and treats
one beyond the end as a gap. So repeated delivery is harmless, and a gap is never shown. The model still thinks while
the text ends at the offset of the last thought.

On the wire an entry has one field: its name is the kind, its value "attempt offset text" (decision 0024).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

#: Prefix of every Redis key of Naru.
PREFIX = "naru:"


class Kind(StrEnum):
    """The kind of an entry; on the wire, the field's name."""

    START = "s"
    DELTA = "d"
    SNAPSHOT = "n"
    THOUGHT = "t"
    END = "e"


class Event(NamedTuple):
    """One entry. `text` is a thought's milliseconds, an end's status, and empty for a start."""

    kind: Kind
    attempt: int
    offset: int = 0
    text: str = ""


_KINDS = {kind.value: kind for kind in Kind}


def key_of(request_id: UUID) -> str:
    """Return the Redis key of a request's stream."""
    return f"{PREFIX}live:{request_id}"


def to_value(event: Event) -> str:
    """Return the value of the entry's field, whose name is the kind."""
    return f"{event.attempt} {event.offset} {event.text}"


def from_fields(fields: dict[str, str]) -> Event | None:
    """Return the event of an entry given as fields; None for a foreign one."""
    try:
        ((kind, value),) = fields.items()
        attempt, offset, text = value.split(" ", 2)
        return Event(_KINDS[kind], int(attempt), int(offset), text)
    except (KeyError, ValueError):
        return None
