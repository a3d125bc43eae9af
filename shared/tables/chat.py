"""Conversations, messages, requests, their attempts and their reasoning."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from shared.tables.metadata import metadata, moment

conversation = Table(
    "conversation",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("model", Text),
    # The newest message of the branch on display; its ancestors are the rest of the branch.
    Column("leaf_id", UUID(as_uuid=True)),
    # Instructions, temperature and effort (shared/tuning.py); null where the person set none.
    Column("tuning", JSONB),
    moment("created_at", now=True),
    moment("updated_at", now=True),
    moment("deleted_at"),
    Index(
        "ix_conversation_owner_id_updated_at",
        "owner_id",
        text("updated_at DESC"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    # These two lead the purge to the oldest conversations.
    Index("ix_conversation_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    Index("ix_conversation_updated_at", "updated_at", postgresql_where=text("deleted_at IS NULL")),
)

message = Table(
    "message",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("conversation_id", ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("parent_id", ForeignKey("message.id", ondelete="CASCADE"), index=True),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    # An answer's request. Unique, so that a request never has two answers.
    Column("request_id", UUID(as_uuid=True), unique=True),
    moment("created_at", now=True),
    CheckConstraint("role IN ('user', 'assistant')", name="role"),
    CheckConstraint("(role = 'assistant') = (request_id IS NOT NULL)", name="answer_has_request"),
)

chat_request = Table(
    "chat_request",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("conversation_id", ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False),
    # No foreign key: deleting a message would search the requests for it, for which there is no index. Both leave with
    # their conversation, requests first.
    Column("user_message_id", UUID(as_uuid=True), nullable=False),
    # Null when no retry can come any more (shared/keeping.py).
    Column("idempotency_key", Text),
    Column("model", Text, nullable=False),
    # Where another model answers than the person chose: their choice, and the code of the reason. `model` then has the
    # other one, so that lanes, limits and costs hold for what is really called.
    Column("asked_model", Text),
    Column("asked_code", Text),
    # The lane that the model belongs to; "" until the reconciler has assigned one.
    Column("lane", Text, nullable=False, server_default=""),
    # The order within the lane: start-time fair queuing (lifecycle/lanes.py).
    Column("fair_at", DateTime(timezone=True), server_default=func.clock_timestamp()),
    # The HTTP request that brought the question, for the worker's log.
    Column("http_request_id", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False),
    # The fence: every claim increments it, so no value is used twice.
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("worker_id", UUID(as_uuid=True)),
    # Losses charged to the request, retries after a provider's refusal, and retries after a broken stream.
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("broken_streams", Integer, nullable=False, server_default="0"),
    # Why it waits for `available_at`: the code of the provider's error, or WORKER_LOST.
    Column("wait_code", Text),
    # When the provider first refused it since the last attempt with text.
    moment("retrying_since"),
    moment("available_at", now=True),
    Column("deadline_at", DateTime(timezone=True), nullable=False),
    # Unused since version 0.2: processes of the previous version still write these two.
    moment("dispatched_at"),
    Column("dispatches", Integer, nullable=False, server_default="0"),
    moment("stop_requested_at"),
    moment("created_at", now=True),
    moment("started_at"),
    moment("first_token_at"),
    moment("ended_at"),
    Column("finish", Text),
    Column("error_code", Text),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cached_input_tokens", Integer),
    # The first messages of the branch that did not fit the model's window; null if it read all.
    Column("left_out", Integer),
    # Where NARU_ANSWER_CACHE_SECONDS is set: the hash of the prompt as it is sent, and the time of the owner's earlier
    # answer to the same prompt, which this request got.
    Column("prompt_hash", LargeBinary),
    moment("earlier_answer_at"),
    # The provider's id of a call that goes on when nobody reads it; null before the call, once it has ended, and for
    # all other calls. In an ended request it waits to be cancelled (lifecycle/calling.py).
    Column("call_id", Text),
    CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="status"),
    CheckConstraint("(status = 'running') = (worker_id IS NOT NULL)", name="running_has_worker"),
    CheckConstraint("(status IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)", name="end"),
    CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name="failed_has_code"),
    # Nearly all requests have no key, and both leave those out.
    Index(
        "uq_chat_request_owner_id_idempotency_key",
        "owner_id",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index(
        "ix_chat_request_key_ended_at",
        "ended_at",
        postgresql_where=text("ended_at IS NOT NULL AND idempotency_key IS NOT NULL"),
    ),
    Index(
        "uq_chat_request_one_active",
        "conversation_id",
        unique=True,
        postgresql_where=text("status IN ('queued', 'running')"),
    ),
    Index("ix_chat_request_queued", "available_at", postgresql_where=text("status = 'queued'")),
    Index("ix_chat_request_running", "worker_id", postgresql_where=text("status = 'running'")),
    Index("ix_chat_request_lane_queued", "lane", "fair_at", postgresql_where=text("status = 'queued'")),
    Index("ix_chat_request_lane_running", "lane", postgresql_where=text("status = 'running'")),
    Index("ix_chat_request_deadline", "deadline_at", postgresql_where=text("status IN ('queued', 'running')")),
    # This one leads a tick to the stops that no worker answered.
    Index(
        "ix_chat_request_stopping",
        "stop_requested_at",
        postgresql_where=text("status = 'running' AND stop_requested_at IS NOT NULL"),
    ),
    # These two serve the count of an owner's questions.
    Index("ix_chat_request_owner_active", "owner_id", postgresql_where=text("status IN ('queued', 'running')")),
    Index("ix_chat_request_owner_id_created_at", "owner_id", "created_at"),
    Index("ix_chat_request_conversation_id_created_at", "conversation_id", text("created_at DESC")),
    Index("ix_chat_request_ended_at", text("ended_at DESC"), postgresql_where=text("ended_at IS NOT NULL")),
    # This one leads to an owner's earlier answer. It is empty where NARU_ANSWER_CACHE_SECONDS is 0.
    Index(
        "ix_chat_request_owner_id_prompt_hash",
        "owner_id",
        "prompt_hash",
        postgresql_where=text("prompt_hash IS NOT NULL"),
    ),
    # This one leads to the calls that go on after their request.
    Index(
        "ix_chat_request_call_id",
        "ended_at",
        postgresql_where=text("call_id IS NOT NULL AND ended_at IS NOT NULL"),
    ),
    # This one leads an administrator to what failed, among a million answers.
    Index("ix_chat_request_failed", "ended_at", postgresql_where=text("status = 'failed'")),
)

request_attempt = Table(
    "request_attempt",
    metadata,
    Column("request_id", ForeignKey("chat_request.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker_id", UUID(as_uuid=True), nullable=False),
    moment("started_at", now=True),
    moment("ended_at"),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("provider_request_id", Text),
    # The last checkpoint: the attempt's text from its beginning. Empty once the request has ended: the answer has it.
    Column("checkpoint", Text, nullable=False, server_default=""),
    # Reserved before the call, where limits apply: the estimated prompt, the most that the attempt may use, and the
    # prices in dollars per token. They count as used until the attempt ends.
    Column("prompt_tokens", BigInteger),
    Column("reserved_tokens", BigInteger),
    Column("reserved_cost", Numeric),
    Column("input_price", Numeric),
    Column("output_price", Numeric),
    # Settled when the attempt ends; null if nothing is known.
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_input_tokens", BigInteger),
    Column("cost", Numeric),
    Column("is_estimated", Boolean),
    # A call that goes on at the provider of this model, although another model has taken the request over: it waits to
    # be cancelled (lifecycle/calling.py).
    Column("call_id", Text),
    Column("call_model", Text),
    # This one leads to those calls.
    Index("ix_request_attempt_call_id", "ended_at", postgresql_where=text("call_id IS NOT NULL")),
)

#: The reasoning of the attempt that ended a request; no row if the model did not think.
reasoning = Table(
    "reasoning",
    metadata,
    Column("request_id", ForeignKey("chat_request.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, nullable=False),
    # Empty if the provider reports the tokens alone.
    Column("content", Text, nullable=False),
    # 0 where nobody knows.
    Column("seconds", Float, nullable=False),
    # Part of the request's `output_tokens`; null if the provider reports none.
    Column("tokens", Integer),
)
