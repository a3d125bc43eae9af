"""People whom a provider of OpenID Connect signs in: `identity`, accounts without a password, its id of a session.

Processes of the previous version insert people with an e-mail address and a password, and read no other ones.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from shared.migrations.online import limit_lock_waits

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    limit_lock_waits()
    op.alter_column("person", "email", existing_type=sa.Text(), nullable=True)
    op.alter_column("person", "password_hash", existing_type=sa.Text(), nullable=True)
    op.add_column("person", sa.Column("name", sa.Text(), nullable=True))
    op.drop_constraint("uq_person_email", "person", type_="unique")
    # The naming convention adds `ck_person_`.
    op.create_check_constraint("password_has_email", "person", "password_hash IS NULL OR email IS NOT NULL")
    op.create_index("ix_person_email", "person", ["email"])
    has_password = sa.text("password_hash IS NOT NULL")
    op.create_index("uq_person_local_email", "person", ["email"], unique=True, postgresql_where=has_password)
    op.create_table(
        "identity",
        sa.Column("issuer", sa.Text(), primary_key=True),
        sa.Column("subject", sa.Text(), primary_key=True),
        sa.Column(
            "person_id", UUID(as_uuid=True), sa.ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.Index("ix_identity_subject", "subject"),
    )
    op.add_column("session", sa.Column("provider_sid", sa.Text(), nullable=True))
    has_sid = sa.text("provider_sid IS NOT NULL")
    op.create_index("ix_session_provider_sid", "session", ["provider_sid"], postgresql_where=has_sid)


def downgrade() -> None:
    op.drop_index("ix_session_provider_sid", "session")
    op.drop_column("session", "provider_sid")
    op.drop_table("identity")
    op.drop_index("uq_person_local_email", "person")
    op.drop_index("ix_person_email", "person")
    # Accounts without a password cannot exist any more.
    op.execute("DELETE FROM person WHERE password_hash IS NULL")
    op.drop_constraint("password_has_email", "person", type_="check")
    op.create_unique_constraint("uq_person_email", "person", ["email"])
    op.drop_column("person", "name")
    op.alter_column("person", "password_hash", existing_type=sa.Text(), nullable=False)
    op.alter_column("person", "email", existing_type=sa.Text(), nullable=False)
