"""The model that a person chose where another one answers, and why.

Processes of the previous version neither read nor write them. Both are null where the chosen model answers.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations.online import limit_lock_waits

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

COLUMNS = ("asked_model", "asked_code")


def upgrade() -> None:
    limit_lock_waits()
    for name in COLUMNS:
        op.add_column("chat_request", sa.Column(name, sa.Text(), nullable=True), if_not_exists=True)


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("chat_request", name)
