"""The record of events: a chain of rows that nobody changes. New tables only.

The triggers are the database's part. `audit_event_chain` gives a row its number, its time and its hash under a lock, so
that concurrent writers make one chain. `audit_event_keep` refuses every change but the purge's.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# 62785 is "naru" on a phone keypad, then 5. The hash covers what `hash_of` in shared/audit/chain.py covers.
CHAIN = """
CREATE FUNCTION audit_event_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before_seq bigint;
    before_hash bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(62785);
    SELECT seq, hash INTO before_seq, before_hash FROM audit_event ORDER BY seq DESC LIMIT 1;
    IF NOT FOUND THEN
        SELECT seq, hash INTO before_seq, before_hash FROM audit_mark WHERE name = 'anchor';
    END IF;
    NEW.seq := coalesce(before_seq, 0) + 1;
    NEW.at := clock_timestamp();
    NEW.hash := sha256(coalesce(before_hash, ''::bytea) || convert_to(json_build_array(
        NEW.seq, (extract(epoch FROM NEW.at) * 1000000)::bigint, NEW.kind, NEW.actor, NEW.subject, NEW.address,
        NEW.http_id, NEW.details::text)::text, 'UTF8'));
    RETURN NEW;
END $$
"""
# 30 days are the least of NARU_KEEP_AUDIT_DAYS.
KEEP = """
CREATE FUNCTION audit_event_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.at < clock_timestamp() - interval '30 days'
                AND OLD.seq <= (SELECT seq FROM audit_mark WHERE name = 'anchor') THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_event is append-only' USING ERRCODE = 'insufficient_privilege';
END $$
"""
TRIGGERS = """
CREATE TRIGGER audit_event_chain BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION audit_event_chain();
CREATE TRIGGER audit_event_keep BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_keep();
CREATE TRIGGER audit_event_keep_all BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit_event_keep();
"""


def upgrade() -> None:
    op.create_table(
        "audit_event",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("kind", "actor", "subject", "address", "http_id")),
        sa.Column("details", JSONB(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Index("ix_audit_event_kind_seq", "kind", "seq"),
        sa.Index("ix_audit_event_subject_seq", "subject", "seq"),
        sa.Index("ix_audit_event_actor_seq", "actor", "seq"),
        sa.Index("ix_audit_event_at", "at"),
        sa.CheckConstraint("octet_length(details::text) <= 4000", name="details_are_short"),
    )
    op.create_table(
        "audit_mark",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_ids", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("name IN ('anchor', 'head', 'sent')", name="name"),
    )
    for statement in (CHAIN, KEEP, TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    for table in ("audit_mark", "audit_event"):
        op.drop_table(table)
    for function in ("audit_event_chain", "audit_event_keep"):
        op.execute(f"DROP FUNCTION {function}()")
