"""Lanes: the unit of capacity, fairness and outage; and the columns that requests and workers need for them.

Processes of the previous version insert requests without a lane. The reconciler assigns one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

QUEUED, RUNNING = sa.text("status = 'queued'"), sa.text("status = 'running'")


def upgrade() -> None:
    op.create_table(
        "lane",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("most_running", sa.Integer(), nullable=True),
        sa.Column("is_full", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
    )
    op.add_column("chat_request", sa.Column("lane", sa.Text(), server_default="", nullable=False))
    # A default that Postgres computes for each existing row would rewrite the table: only active rows need a value.
    op.add_column("chat_request", sa.Column("fair_at", sa.DateTime(timezone=True), nullable=True))
    op.alter_column("chat_request", "fair_at", server_default=sa.text("clock_timestamp()"))
    op.execute("UPDATE chat_request SET fair_at = created_at WHERE status IN ('queued', 'running')")
    op.add_column("chat_request", sa.Column("retrying_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("chat_request", sa.Column("http_request_id", sa.Text(), server_default="", nullable=False))
    op.add_column("worker", sa.Column("free", JSONB(), server_default="{}", nullable=False))
    op.create_index("ix_chat_request_lane_queued", "chat_request", ["lane", "fair_at"], postgresql_where=QUEUED)
    op.create_index("ix_chat_request_lane_running", "chat_request", ["lane"], postgresql_where=RUNNING)


def downgrade() -> None:
    op.drop_index("ix_chat_request_lane_running", table_name="chat_request")
    op.drop_index("ix_chat_request_lane_queued", table_name="chat_request")
    op.drop_column("worker", "free")
    for column in ("http_request_id", "retrying_since", "fair_at", "lane"):
        op.drop_column("chat_request", column)
    op.drop_table("lane")
