"""The servers that taught a fact about a model.

Null in rows of before, and in those of workers of the previous version: such a fact holds for every server.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.migrations.online import limit_lock_waits

revision = "0021"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    limit_lock_waits()
    op.add_column("model_fact", sa.Column("servers", postgresql.ARRAY(sa.Text()), nullable=True), if_not_exists=True)


def downgrade() -> None:
    op.drop_column("model_fact", "servers")
