"""People with an account: their sessions, links, and the counts of attempts to sign in. New tables only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "person",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("email", sa.Text(), nullable=False, unique=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        _moment("created_at", now=True),
        _moment("disabled_at"),
        sa.CheckConstraint("role IN ('user', 'auditor', 'admin')", name="role"),
    )
    op.create_table(
        "session",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column(
            "person_id", UUID(as_uuid=True), sa.ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        _moment("created_at", now=True),
        _moment("seen_at", now=True),
        sa.Index("ix_session_created_at", "created_at"),
        sa.Index("ix_session_seen_at", "seen_at"),
    )
    op.create_table(
        "link",
        sa.Column("token_hash", sa.LargeBinary(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("role", sa.Text()),
        sa.Column("person_id", UUID(as_uuid=True), sa.ForeignKey("person.id", ondelete="CASCADE"), index=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.CheckConstraint("kind IN ('invitation', 'password')", name="kind"),
        sa.CheckConstraint("(kind = 'invitation') = (role IS NOT NULL)", name="invitation_has_role"),
        sa.CheckConstraint("(kind = 'password') = (person_id IS NOT NULL)", name="password_has_person"),
    )
    op.create_table(
        "sign_in_allowance",
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("whole_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.text("clock_timestamp()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not now, server_default=default)


def downgrade() -> None:
    for table in ("sign_in_allowance", "link", "session", "person"):
        op.drop_table(table)
