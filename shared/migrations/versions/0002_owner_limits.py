"""Indexes for the limits of one owner.

Building them holds up questions for about a second per million stored ones.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_chat_request_owner_active",
        "chat_request",
        ["owner_id"],
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    op.create_index("ix_chat_request_owner_id_created_at", "chat_request", ["owner_id", "created_at"])


def downgrade() -> None:
    op.drop_index("ix_chat_request_owner_id_created_at", table_name="chat_request")
    op.drop_index("ix_chat_request_owner_active", table_name="chat_request")
