"""The messages that a model did not read, because they did not fit its window.

Processes of the previous version neither read nor write it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations.online import limit_lock_waits

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    limit_lock_waits()
    op.add_column("chat_request", sa.Column("left_out", sa.Integer(), nullable=True), if_not_exists=True)


def downgrade() -> None:
    op.drop_column("chat_request", "left_out")
