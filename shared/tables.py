"""The tables, as SQLAlchemy Core tables, and the words that stand in their columns.

Who changes which row, and when, is in `lifecycle/`, `reconciler.py`, `fleet.py` and `conversations.py`; how the
tables came to be is in `migrations/`. Times are Postgres's own (`clock_timestamp()`), never a client's.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID


class Status(StrEnum):
    """Where a request is in its life."""

    #: Stored and waiting for a worker (or for `available_at`, when a provider asked us to wait).
    QUEUED = "queued"
    #: One attempt of one worker is under way.
    RUNNING = "running"
    #: The answer is whole and stored.
    SUCCEEDED = "succeeded"
    #: It will not be answered; `error_code` says why.
    FAILED = "failed"
    #: The person stopped it; the text so far is the answer.
    CANCELLED = "cancelled"


ACTIVE = (Status.QUEUED, Status.RUNNING)
TERMINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


class Outcome(StrEnum):
    """How one attempt ended; kept in `request_attempt` for the operator."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: The provider asked us to wait, or failed in a way that another attempt may mend.
    RELEASED = "released"
    #: The worker was told to stop and handed it over.
    HANDED_OVER = "handed_over"
    #: The worker's lease ran out.
    LOST = "lost"


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_NOW = func.clock_timestamp()


def _moment(name: str, *, now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=not now, server_default=_NOW if now else None)


conversation = Table(
    "conversation",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("model", Text),
    # The newest message of the branch that is shown; its parents are the rest of the branch.
    Column("leaf_id", UUID(as_uuid=True)),
    _moment("created_at", now=True),
    _moment("updated_at", now=True),
    _moment("deleted_at"),
    Index(
        "ix_conversation_owner_id_updated_at",
        "owner_id",
        text("updated_at DESC"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
)

message = Table(
    "message",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("conversation_id", ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("parent_id", ForeignKey("message.id", ondelete="CASCADE"), index=True),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    # Of an answer: the request that it answers. Unique, so that a request has one answer whatever happens.
    Column("request_id", UUID(as_uuid=True), unique=True),
    _moment("created_at", now=True),
    CheckConstraint("role IN ('user', 'assistant')", name="role"),
    CheckConstraint("(role = 'assistant') = (request_id IS NOT NULL)", name="answer_has_request"),
)

chat_request = Table(
    "chat_request",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("conversation_id", ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False),
    # Stored after the request, in the same transaction: see lifecycle.submit.
    Column(
        "user_message_id",
        ForeignKey("message.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    Column("idempotency_key", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    # The fence: raised by every claim, never used again.
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("worker_id", UUID(as_uuid=True)),
    # How often its worker was lost while it was a suspect; how often a provider's refusal or a broken stream was
    # tried again.
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("broken_streams", Integer, nullable=False, server_default="0"),
    # Why it waits, when it waits for `available_at`: the code of the provider's error.
    Column("wait_code", Text),
    _moment("available_at", now=True),
    Column("deadline_at", DateTime(timezone=True), nullable=False),
    _moment("dispatched_at"),
    Column("dispatches", Integer, nullable=False, server_default="0"),
    _moment("stop_requested_at"),
    _moment("created_at", now=True),
    _moment("started_at"),
    _moment("first_token_at"),
    _moment("ended_at"),
    Column("finish", Text),
    Column("error_code", Text),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cached_input_tokens", Integer),
    CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="status"),
    CheckConstraint("(status = 'running') = (worker_id IS NOT NULL)", name="running_has_worker"),
    CheckConstraint("(status IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)", name="end"),
    CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="failed_has_code"),
    Index("uq_chat_request_owner_id_idempotency_key", "owner_id", "idempotency_key", unique=True),
    Index(
        "uq_chat_request_one_active",
        "conversation_id",
        unique=True,
        postgresql_where=text("status IN ('queued', 'running')"),
    ),
    Index("ix_chat_request_queued", "available_at", postgresql_where=text("status = 'queued'")),
    Index("ix_chat_request_running", "worker_id", postgresql_where=text("status = 'running'")),
    Index("ix_chat_request_deadline", "deadline_at", postgresql_where=text("status IN ('queued', 'running')")),
    # What an owner may ask is counted by these two.
    Index("ix_chat_request_owner_active", "owner_id", postgresql_where=text("status IN ('queued', 'running')")),
    Index("ix_chat_request_owner_id_created_at", "owner_id", "created_at"),
    Index("ix_chat_request_conversation_id_created_at", "conversation_id", text("created_at DESC")),
    Index("ix_chat_request_ended_at", text("ended_at DESC"), postgresql_where=text("ended_at IS NOT NULL")),
)

request_attempt = Table(
    "request_attempt",
    metadata,
    Column("request_id", ForeignKey("chat_request.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker_id", UUID(as_uuid=True), nullable=False),
    _moment("started_at", now=True),
    _moment("ended_at"),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("provider_request_id", Text),
    # The last checkpoint: the attempt's text from its beginning. A record, never an answer by itself.
    Column("checkpoint", Text, nullable=False, server_default=""),
)

worker = Table(
    "worker",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    # What it can serve: [{"name": "openai/…", "demo": false}, …].
    Column("models", JSONB, nullable=False),
    Column("draining", Boolean, nullable=False, server_default="false"),
    _moment("started_at", now=True),
    _moment("renewed_at", now=True),
    # When its broker connection last moved: alive and consuming are two things.
    _moment("consumed_at"),
    Column("lease_expires_at", DateTime(timezone=True), nullable=False),
    # Lost, or gone in order: nothing may be claimed or written under this id any more.
    _moment("lost_at"),
    Index("ix_worker_live", "lease_expires_at", postgresql_where=text("lost_at IS NULL")),
)

#: One row, for what must survive processes: when anyone last ticked.
reconciler_tick = Table(
    "reconciler_tick",
    metadata,
    Column("id", Integer, primary_key=True),
    _moment("ticked_at", now=True),
    # Until then nobody is marked lost: the ticks themselves had stood still, so leases prove nothing.
    _moment("mercy_until"),
    Column("gap_seconds", Float, nullable=False, server_default="0"),
    CheckConstraint("id = 1", name="one_row"),
)
