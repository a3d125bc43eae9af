"""Indexes that lead a tick to what is due.

They are built concurrently: questions go on meanwhile. An index that an interrupted build left behind is built anew.
"""

from __future__ import annotations

from alembic import op

from shared.migrations.online import build_index

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: The table, the column and the condition of each index.
INDEXES = {
    "ix_chat_request_stopping": (
        "chat_request",
        "stop_requested_at",
        "status = 'running' AND stop_requested_at IS NOT NULL",
    ),
    "ix_worker_lost_at": ("worker", "lost_at", "lost_at IS NOT NULL"),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, (table, column, condition) in INDEXES.items():
            build_index(name, table, [column], condition)


def downgrade() -> None:
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table_name=table)
