"""The record of events: one row for each, chained by hashes, and three marks on the chain.

Triggers of the migration give a row its number, its time and its hash, and refuse to change the row.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, LargeBinary, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.tables.metadata import metadata, moment

audit_event = Table(
    "audit_event",
    metadata,
    # 1, 2, 3, … without gaps.
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    moment("at", now=True),
    Column("kind", Text, nullable=False),
    # The key of an owner, or "" for nobody who is known.
    Column("actor", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("http_id", Text, nullable=False),
    Column("details", JSONB, nullable=False),
    # SHA-256 of the hash before it and of this row (shared/audit/chain.py).
    Column("hash", LargeBinary, nullable=False),
    # These lead a page of one kind or one person to its rows, and a page of a day and the purge to theirs.
    Index("ix_audit_event_kind_seq", "kind", "seq"),
    Index("ix_audit_event_subject_seq", "subject", "seq"),
    Index("ix_audit_event_actor_seq", "actor", "seq"),
    Index("ix_audit_event_at", "at"),
    CheckConstraint("octet_length(details::text) <= 4000", name="details_are_short"),
)

#: `anchor`: the last row that retention removed. `head`: the newest row that a web process has sealed. `sent`: the
#: newest row that was sent to NARU_AUDIT_LOG.
audit_mark = Table(
    "audit_mark",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    # The ids of the keys of its time, newest first; the first one signed.
    Column("key_ids", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    CheckConstraint("name IN ('anchor', 'head', 'sent')", name="name"),
)
