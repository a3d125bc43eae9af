"""What administrators say about models in the picker, and why a worker's providers offer none.

Processes of the previous version neither read nor write it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.migrations.online import limit_lock_waits

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    limit_lock_waits()
    op.create_table(
        "shown_model",
        sa.Column("model", sa.Text(), primary_key=True),
        sa.Column("hidden", sa.Boolean(), nullable=False, server_default="false"),
        sa.Column("place", sa.Integer()),
        if_not_exists=True,
    )
    op.add_column("worker", sa.Column("absent", JSONB()), if_not_exists=True)


def downgrade() -> None:
    op.drop_column("worker", "absent")
    op.drop_table("shown_model")
