"""Second factors, recovery codes and guests' links; who made an invitation, and for whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "second_factor",
        sa.Column("person_id", UUID(as_uuid=True), sa.ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False, index=True),
        _moment("on_since"),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "recovery_code",
        sa.Column("person_id", UUID(as_uuid=True), sa.ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("code_hash", sa.LargeBinary(), primary_key=True),
    )
    op.create_table(
        "guest_link",
        sa.Column("browser_id", UUID(as_uuid=True), primary_key=True),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
        _moment("created_at"),
    )
    op.add_column("link", _moment("created_at"))
    op.add_column("link", sa.Column("made_by", sa.Text()))
    op.add_column("link", sa.Column("email", sa.Text()))


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()"))


def downgrade() -> None:
    for column in ("email", "made_by", "created_at"):
        op.drop_column("link", column)
    for table in ("guest_link", "recovery_code", "second_factor"):
        op.drop_table(table)
