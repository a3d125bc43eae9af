"""What servers have told the workers about their models by refusing a call.

Processes of the previous version neither read nor write it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.migrations.online import limit_lock_waits

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    limit_lock_waits()
    op.create_table(
        "model_fact",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fact", sa.Text(), nullable=False),
        sa.Column("value", JSONB(), nullable=False),
        sa.Column("learnt_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("model", "fact"),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("model_fact")
