"""NOTIFY and LISTEN: "look now" between processes. Best effort: every receiver polls too, and so finds what it missed.

A notification is sent inside the transaction that makes it true, so Postgres delivers it after the commit or never.
It carries two ids and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Connection, Text, cast, func, select

#: A request was queued, for the first time or again.
REQUEST = "naru_request"
#: Someone asked a running request to stop.
STOP = "naru_stop"
#: A request ended.
ENDED = "naru_ended"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification: its channel, request and conversation."""

    channel: str
    request_id: UUID
    conversation_id: UUID


def send(connection: Connection, channel: str, request_id: UUID, conversation_id: UUID) -> None:
    """Send the notification when the running transaction commits."""
    connection.execute(select(func.pg_notify(channel, f"{request_id}:{conversation_id}")))


def of_row(channel: str, rows: CTE) -> ColumnElement[Any]:
    """Return the notification as a column, for a statement that notifies about its own rows (`id`,
    `conversation_id`)."""
    payload = cast(rows.c.id, Text) + ":" + cast(rows.c.conversation_id, Text)
    return func.pg_notify(channel, payload)


def parse(channel: str, payload: str) -> Notice | None:
    """Return the notice in a payload; None for a foreign one, since anyone may NOTIFY on a channel."""
    first, _, second = payload.partition(":")
    try:
        return Notice(channel, UUID(first), UUID(second))
    except ValueError:
        return None
