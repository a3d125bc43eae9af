"""NOTIFY and LISTEN: "look now" between processes, best effort. Every miss is covered by a poll of the listener.

A notification is sent inside the transaction that makes it true, so Postgres delivers it after the commit or not at
all. It carries two ids and nothing else. What a listener does with one is the listener's own business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Connection, Text, cast, func, select

#: A request is queued (again).
REQUEST = "naru_request"
#: Someone asked a running request to stop.
STOP = "naru_stop"
#: A request came to its end.
ENDED = "naru_ended"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification: which channel, which request, which conversation."""

    channel: str
    request_id: UUID
    conversation_id: UUID


def send(connection: Connection, channel: str, request_id: UUID, conversation_id: UUID) -> None:
    """Notify with the running transaction."""
    connection.execute(select(func.pg_notify(channel, f"{request_id}:{conversation_id}")))


def of_row(channel: str, rows: CTE) -> ColumnElement[Any]:
    """The notification as a column, for a statement that tells of its own rows (`id`, `conversation_id`)."""
    payload = cast(rows.c.id, Text) + ":" + cast(rows.c.conversation_id, Text)
    return func.pg_notify(channel, payload)


def parse(channel: str, payload: str) -> Notice | None:
    """The notice in a payload; None for one that is not ours (anyone may NOTIFY on a channel)."""
    first, _, second = payload.partition(":")
    try:
        return Notice(channel, UUID(first), UUID(second))
    except ValueError:
        return None
