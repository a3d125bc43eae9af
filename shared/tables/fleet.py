"""Workers, lanes, the reconciler's last tick, the banner, and what the workers learn about models."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from shared.tables.metadata import metadata, moment

worker = Table(
    "worker",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("slots", Integer, nullable=False),
    # The models that it offers: [{"name": "openai/…", "demo": false, "title": "…", "provider": "…"}, …].
    Column("models", JSONB, nullable=False),
    # Its providers that offer no model: [{"title": "OpenAI", "problem": "unreachable"}, …].
    Column("absent", JSONB),
    # The lanes that it serves, and how many more answers of each it can take: {"openai": 12, …}.
    Column("free", JSONB, nullable=False, server_default="{}"),
    Column("draining", Boolean, nullable=False, server_default="false"),
    # Set when an administrator asks it to end; the next renewal of its lease tells it.
    moment("drain_requested_at"),
    moment("started_at", now=True),
    moment("renewed_at", now=True),
    # When its broker connection last worked: a worker may be alive without consuming.
    moment("consumed_at"),
    Column("lease_expires_at", DateTime(timezone=True), nullable=False),
    # Set when it is marked lost or has left: nothing may be claimed or written under this id any more.
    moment("lost_at"),
    Index("ix_worker_live", "lease_expires_at", postgresql_where=text("lost_at IS NULL")),
    Index("ix_worker_lost_at", "lost_at", postgresql_where=text("lost_at IS NOT NULL")),
)

#: The lanes: a provider, or one of its models with its own limit. Workers add rows, and nobody removes them.
lane = Table(
    "lane",
    metadata,
    Column("name", Text, primary_key=True),
    # Most answers at once over all workers; null means no limit.
    Column("most_running", Integer),
    # Most requests and tokens of a minute over all workers; null means no limit. No request begins before
    # `requests_at` and `tokens_at` (lifecycle/rates.py), nor before `rests_until`, which the provider asked for; null
    # means now.
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", BigInteger),
    moment("requests_at"),
    moment("tokens_at"),
    moment("rests_until"),
    # Whether too many questions wait, so that further ones are refused; each tick notes it.
    Column("is_full", Boolean, nullable=False, server_default="false"),
    # The breaker: failures in a row, since when, the time of the next call, and the reason.
    Column("failures", Integer, nullable=False, server_default="0"),
    moment("failing_since"),
    moment("retry_at"),
    Column("code", Text),
    # Whether the provider only asked to slow down. A provider's row is also the lane of its models without a lane of
    # their own; then its breaker closes that lane, and not those of the other models.
    Column("is_slowed", Boolean, nullable=False, server_default="false"),
)

#: One row: when any process last ticked.
reconciler_tick = Table(
    "reconciler_tick",
    metadata,
    Column("id", Integer, primary_key=True),
    moment("ticked_at", now=True),
    # The last tick that knew lanes. Processes that know them let nobody else's ticks replace theirs: those of the
    # previous version give no lane to a request.
    moment("lanes_ticked_at"),
    # No worker is marked lost before this time: after a gap in the ticks an expired lease proves nothing.
    moment("mercy_until"),
    Column("gap_seconds", Float, nullable=False, server_default="0"),
    CheckConstraint("id = 1", name="one_row"),
)

#: At most one row: the sentence that everybody sees at the top of the page.
banner = Table(
    "banner",
    metadata,
    Column("id", Integer, primary_key=True),
    # Changes with each text, so that a browser shows a new banner although the last one was closed.
    Column("version", UUID(as_uuid=True), nullable=False),
    # The text by language; "" takes the other one.
    Column("en", Text, nullable=False),
    Column("ko", Text, nullable=False),
    moment("set_at", now=True),
    CheckConstraint("id = 1", name="one_row"),
)

#: Facts about a model that its server has told the workers by refusing a call: `shared/model_facts.py`.
model_fact = Table(
    "model_fact",
    metadata,
    # `provider/model`, as in chat_request.model.
    Column("model", Text, nullable=False),
    Column("fact", Text, nullable=False),
    Column("value", JSONB, nullable=False),
    # The servers that taught it (`Instance.servers` in workers/providers/); null: every server, as before this column.
    Column("servers", ARRAY(Text)),
    moment("learnt_at", now=True),
    PrimaryKeyConstraint("model", "fact"),
)

#: The administrators' order of the picker, and the models that they hide. A model without a row comes after those
#: with a place.
shown_model = Table(
    "shown_model",
    metadata,
    # `provider/model`, as in chat_request.model.
    Column("model", Text, primary_key=True),
    Column("hidden", Boolean, nullable=False, server_default="false"),
    # Smaller numbers come first; null keeps the order of the workers.
    Column("place", Integer),
)
