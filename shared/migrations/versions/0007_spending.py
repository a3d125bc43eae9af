"""Spending, quotas and groups: new tables, and columns of an attempt that may be null."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from shared.migrations.online import limit_lock_waits

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_RESERVED_AND_SETTLED: tuple[tuple[str, type[Any]], ...] = (
    ("prompt_tokens", sa.BigInteger),
    ("reserved_tokens", sa.BigInteger),
    ("reserved_cost", sa.Numeric),
    ("input_price", sa.Numeric),
    ("output_price", sa.Numeric),
    ("input_tokens", sa.BigInteger),
    ("output_tokens", sa.BigInteger),
    ("cached_input_tokens", sa.BigInteger),
    ("cost", sa.Numeric),
    ("is_estimated", sa.Boolean),
)


def upgrade() -> None:
    limit_lock_waits()
    for name, kind in _RESERVED_AND_SETTLED:
        op.add_column("request_attempt", sa.Column(name, kind()))
    op.create_table(
        "person_group",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("models", sa.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("personal_data", sa.Text()),
        sa.Column("role", sa.Text()),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.CheckConstraint("role IN ('user', 'auditor', 'admin')", name="role"),
        sa.CheckConstraint("personal_data IN ('warn', 'block')", name="personal_data"),
    )
    op.create_table(
        "membership",
        sa.Column("person_id", UUID(as_uuid=True), sa.ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
        sa.Column(
            "group_id",
            UUID(as_uuid=True),
            sa.ForeignKey("person_group.id", ondelete="CASCADE"),
            primary_key=True,
            index=True,
        ),
        sa.Column("from_claim", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    )
    op.create_table(
        "quota",
        sa.Column("subject", sa.Text(), primary_key=True),
        sa.Column("active_questions", sa.Integer()),
        sa.Column("questions_per_minute", sa.Integer()),
        sa.Column("question_characters", sa.Integer()),
        sa.Column("tokens_per_day", sa.BigInteger()),
        sa.Column("tokens_per_month", sa.BigInteger()),
        sa.Column("money_per_month", sa.Numeric()),
        sa.CheckConstraint(
            "least(active_questions, questions_per_minute, question_characters, tokens_per_day, tokens_per_month,"
            " money_per_month) >= 0",
            name="not_negative",
        ),
    )
    op.create_table(
        "spending",
        sa.Column("owner_id", sa.Text(), primary_key=True),
        sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Numeric(), nullable=False),
        sa.Column("unpriced", sa.Integer(), nullable=False),
        sa.Column("estimated", sa.Integer(), nullable=False),
        sa.Index("ix_spending_hour", "hour"),
    )


def downgrade() -> None:
    for table in ("spending", "quota", "membership", "person_group"):
        op.drop_table(table)
    for name, _ in _RESERVED_AND_SETTLED:
        op.drop_column("request_attempt", name)
