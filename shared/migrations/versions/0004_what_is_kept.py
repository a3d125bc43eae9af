"""What the purge needs: indexes that lead it to the oldest rows, and idempotency keys that can be cleared.

The indexes are built concurrently: questions go on meanwhile. An index that an interrupted build left behind is built
anew.
"""

from __future__ import annotations

from alembic import op

from shared.migrations.online import build_index, limit_lock_waits

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY_INDEX = "uq_chat_request_owner_id_idempotency_key"
NEW_KEY_INDEX = "uq_chat_request_new_key"
MESSAGE_KEY = "fk_chat_request_user_message_id"
#: The table, the columns and the condition of each index.
INDEXES = {
    "ix_conversation_deleted_at": ("conversation", ["deleted_at"], "deleted_at IS NOT NULL"),
    "ix_conversation_updated_at": ("conversation", ["updated_at"], "deleted_at IS NULL"),
    "ix_chat_request_key_ended_at": (
        "chat_request",
        ["ended_at"],
        "ended_at IS NOT NULL AND idempotency_key IS NOT NULL",
    ),
    NEW_KEY_INDEX: ("chat_request", ["owner_id", "idempotency_key"], "idempotency_key IS NOT NULL"),
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, (table, columns, condition) in INDEXES.items():
            build_index(name, table, columns, condition, unique=name == NEW_KEY_INDEX)
    limit_lock_waits()
    op.drop_index(KEY_INDEX, table_name="chat_request")
    op.execute(f"ALTER INDEX {NEW_KEY_INDEX} RENAME TO {KEY_INDEX}")
    op.alter_column("chat_request", "idempotency_key", nullable=True)
    op.drop_constraint(MESSAGE_KEY, "chat_request", type_="foreignkey")


def downgrade() -> None:
    op.create_foreign_key(
        MESSAGE_KEY,
        "chat_request",
        "message",
        ["user_message_id"],
        ["id"],
        ondelete="CASCADE",
        deferrable=True,
        initially="DEFERRED",
    )
    op.execute("UPDATE chat_request SET idempotency_key = id::text WHERE idempotency_key IS NULL")
    op.alter_column("chat_request", "idempotency_key", nullable=False)
    op.drop_index(KEY_INDEX, table_name="chat_request")
    op.create_index(KEY_INDEX, "chat_request", ["owner_id", "idempotency_key"], unique=True)
    op.drop_index("ix_chat_request_key_ended_at", table_name="chat_request")
    op.drop_index("ix_conversation_updated_at", table_name="conversation")
    op.drop_index("ix_conversation_deleted_at", table_name="conversation")
