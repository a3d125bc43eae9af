"""The model that a person chose where another one answers, and the requests and tokens per minute of a lane.

Processes of the previous version neither read nor write these columns. All are null where nothing of it is used. The
limits per minute hold once the last worker of the previous version has gone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.migrations.online import limit_lock_waits

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _columns() -> list[tuple[str, sa.Column[object]]]:
    return [
        ("chat_request", sa.Column("asked_model", sa.Text(), nullable=True)),
        ("chat_request", sa.Column("asked_code", sa.Text(), nullable=True)),
        ("lane", sa.Column("requests_per_minute", sa.Integer(), nullable=True)),
        ("lane", sa.Column("tokens_per_minute", sa.BigInteger(), nullable=True)),
        ("lane", sa.Column("requests_at", sa.DateTime(timezone=True), nullable=True)),
        ("lane", sa.Column("tokens_at", sa.DateTime(timezone=True), nullable=True)),
    ]


def upgrade() -> None:
    limit_lock_waits()
    for table, column in _columns():
        op.add_column(table, column, if_not_exists=True)


def downgrade() -> None:
    for table, column in reversed(_columns()):
        op.drop_column(table, column.name)
