"""The call that an attempt left running at its provider when another model took over, and the way to such calls.

Workers of the previous version neither read nor write it: they cancel such a call once, or forget it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations.online import build_index, limit_lock_waits

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INDEX = "ix_request_attempt_call_id"
COLUMNS = ("call_id", "call_model")


def upgrade() -> None:
    limit_lock_waits()
    for name in COLUMNS:
        op.add_column("request_attempt", sa.Column(name, sa.Text(), nullable=True), if_not_exists=True)
    with op.get_context().autocommit_block():
        build_index(INDEX, "request_attempt", ["ended_at"], "call_id IS NOT NULL")


def downgrade() -> None:
    op.drop_index(INDEX, table_name="request_attempt")
    for name in COLUMNS:
        op.drop_column("request_attempt", name)
