"""Lanes: the unit of capacity, fairness and outage; and the columns that requests and workers need for them.

Processes of the previous version insert requests without a lane. The reconciler assigns one.

The indexes are built concurrently: questions go on meanwhile. What an interrupted build left behind is built anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.migrations.online import build_index, limit_lock_waits

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: The columns and the condition of each index.
INDEXES = {
    "ix_chat_request_lane_queued": (["lane", "fair_at"], "status = 'queued'"),
    "ix_chat_request_lane_running": (["lane"], "status = 'running'"),
}


def upgrade() -> None:
    limit_lock_waits()
    op.create_table(
        "lane",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("most_running", sa.Integer(), nullable=True),
        sa.Column("is_full", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("is_slowed", sa.Boolean(), server_default="false", nullable=False),
        if_not_exists=True,
    )
    # These two first: the busiest table is locked last, and for the shortest time.
    _add_column("reconciler_tick", sa.Column("lanes_ticked_at", sa.DateTime(timezone=True), nullable=True))
    _add_column("worker", sa.Column("free", JSONB(), server_default="{}", nullable=False))
    _add_column("chat_request", sa.Column("lane", sa.Text(), server_default="", nullable=False))
    # A default that Postgres computes for each existing row would rewrite the table: only active rows need a value.
    _add_column("chat_request", sa.Column("fair_at", sa.DateTime(timezone=True), nullable=True))
    op.alter_column("chat_request", "fair_at", server_default=sa.text("clock_timestamp()"))
    op.execute("UPDATE chat_request SET fair_at = created_at WHERE status IN ('queued', 'running') AND fair_at IS NULL")
    _add_column("chat_request", sa.Column("retrying_since", sa.DateTime(timezone=True), nullable=True))
    _add_column("chat_request", sa.Column("http_request_id", sa.Text(), server_default="", nullable=False))
    with op.get_context().autocommit_block():
        for name, (columns, condition) in INDEXES.items():
            build_index(name, "chat_request", columns, condition)


def _add_column(table: str, column: sa.Column[object]) -> None:
    op.add_column(table, column, if_not_exists=True)


def downgrade() -> None:
    op.drop_index("ix_chat_request_lane_running", table_name="chat_request")
    op.drop_index("ix_chat_request_lane_queued", table_name="chat_request")
    op.drop_column("worker", "free")
    op.drop_column("reconciler_tick", "lanes_ticked_at")
    for column in ("http_request_id", "retrying_since", "fair_at", "lane"):
        op.drop_column("chat_request", column)
    op.drop_table("lane")
