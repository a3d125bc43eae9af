"""What the page for administrators needs: the wish that a worker drains, the banner, and the way to failed requests.

Processes of the previous version do not know the wish: their workers drain only on a signal.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from shared.migrations.online import build_index, limit_lock_waits

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FAILED_INDEX = "ix_chat_request_failed"


def upgrade() -> None:
    limit_lock_waits()
    op.create_table(
        "banner",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("version", UUID(as_uuid=True), nullable=False),
        sa.Column("en", sa.Text(), nullable=False),
        sa.Column("ko", sa.Text(), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.CheckConstraint("id = 1", name="one_row"),
        if_not_exists=True,
    )
    op.add_column(
        "worker", sa.Column("drain_requested_at", sa.DateTime(timezone=True), nullable=True), if_not_exists=True
    )
    with op.get_context().autocommit_block():
        build_index(FAILED_INDEX, "chat_request", ["ended_at"], "status = 'failed'")


def downgrade() -> None:
    op.drop_index(FAILED_INDEX, table_name="chat_request")
    op.drop_column("worker", "drain_requested_at")
    op.drop_table("banner")
