"""The time until which a provider says that nothing is left of its limits, apart from the limits that we hold.

Processes of the previous version neither read nor write it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations.online import limit_lock_waits

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    limit_lock_waits()
    op.add_column("lane", sa.Column("rests_until", sa.DateTime(timezone=True), nullable=True), if_not_exists=True)


def downgrade() -> None:
    op.drop_column("lane", "rests_until")
