"""NOTIFY and LISTEN: "look now" between processes, best effort. Every miss is covered by a poll of the listener.

A notification is sent inside the transaction that makes it true, so Postgres delivers it after the commit or not at
all. It carries two ids and nothing else. What a listener does with one is the listener's own business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

REQUEST = "naru_request"
STOP = "naru_stop"
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


def payload_of(request_id: ColumnElement[Any], conversation_id: ColumnElement[Any]) -> ColumnElement[str]:
    """The payload made by Postgres itself, for a statement that notifies of its own rows."""
    return cast(request_id, Text) + ":" + cast(conversation_id, Text)


def parse(channel: str, payload: str) -> Notice | None:
    """The notice in a payload; None for one that is not ours (anyone may NOTIFY on a channel)."""
    first, _, second = payload.partition(":")
    try:
        return Notice(channel, UUID(first), UUID(second))
    except ValueError:
        return None
