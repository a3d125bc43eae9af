"""What the answer cache needs: the hash of a prompt, the time of the answer that was given again, and the way to it.

Processes of the previous version neither read nor write them. Without NARU_ANSWER_CACHE_SECONDS all are null, and the
index is empty.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations.online import build_index, limit_lock_waits

revision = "0016"
down_revision = "0014"
branch_labels = None
depends_on = None

INDEX = "ix_chat_request_owner_id_prompt_hash"


def upgrade() -> None:
    limit_lock_waits()
    for column in (
        sa.Column("prompt_hash", sa.LargeBinary(), nullable=True),
        sa.Column("earlier_answer_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("chat_request", column, if_not_exists=True)
    with op.get_context().autocommit_block():
        build_index(INDEX, "chat_request", ["owner_id", "prompt_hash"], "prompt_hash IS NOT NULL")


def downgrade() -> None:
    op.drop_index(INDEX, table_name="chat_request")
    op.drop_column("chat_request", "earlier_answer_at")
    op.drop_column("chat_request", "prompt_hash")
