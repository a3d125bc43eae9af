"""The id of a call that goes on at its provider when its worker dies, and the way to those that outlive their request.

Workers of the previous version neither read nor write it: they make a new call.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations.online import build_index, limit_lock_waits

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

INDEX = "ix_chat_request_call_id"


def upgrade() -> None:
    limit_lock_waits()
    op.add_column("chat_request", sa.Column("call_id", sa.Text(), nullable=True), if_not_exists=True)
    with op.get_context().autocommit_block():
        build_index(INDEX, "chat_request", ["ended_at"], "call_id IS NOT NULL AND ended_at IS NOT NULL")


def downgrade() -> None:
    op.drop_index(INDEX, table_name="chat_request")
    op.drop_column("chat_request", "call_id")
