"""What a person sets for one conversation.

Workers of the previous version do not read it: they answer with the model's defaults.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from shared.migrations.online import limit_lock_waits

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    limit_lock_waits()
    op.add_column("conversation", sa.Column("tuning", JSONB(), nullable=True), if_not_exists=True)


def downgrade() -> None:
    op.drop_column("conversation", "tuning")
