"""NOTIFY and LISTEN: "look now" between processes. Best effort: every receiver polls too, and so finds what it missed.

A transaction notes what it makes true (`after_commit`). `database.py` passes the notes on once it has committed, and
`notices.py` sends them over a connection of its own. A notice carries two ids and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

#: A request was queued, for the first time or again.
REQUEST = "naru_request"
#: Someone asked a running request to stop.
STOP = "naru_stop"
#: A request ended.
ENDED = "naru_ended"

_NOTED = "naru_notices"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification: its channel, request and conversation."""

    channel: str
    request_id: UUID
    conversation_id: UUID

    @property
    def payload(self) -> str:
        """The text that NOTIFY carries."""
        return f"{self.request_id}:{self.conversation_id}"


def after_commit(connection: Connection, channel: str, request_id: UUID, conversation_id: UUID) -> None:
    """Note that this notice is due when the running transaction has committed."""
    connection.info.setdefault(_NOTED, []).append(Notice(channel, request_id, conversation_id))


def take_noted(connection: Connection) -> list[Notice]:
    """Return the notices of the running transaction, and forget them."""
    noted: list[Notice] = connection.info.pop(_NOTED, [])
    return noted


def parse(channel: str, payload: str) -> Notice | None:
    """Return the notice in a payload; None for a foreign one, since anyone may NOTIFY on a channel."""
    first, _, second = payload.partition(":")
    try:
        return Notice(channel, UUID(first), UUID(second))
    except ValueError:
        return None
