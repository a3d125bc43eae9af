"""People with an account: identities, sessions, second factors, links, and the counts of attempts to sign in."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Index, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import UUID

from shared.tables.metadata import metadata, moment

person = Table(
    "person",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    # Normalised (shared/people/accounts.py). Two accounts may share one, unless both have a password.
    Column("email", Text),
    Column("role", Text, nullable=False),
    # argon2id, with its parameters and its salt; null for those whom a provider signs in.
    Column("password_hash", Text),
    # The name that the provider gives the person.
    Column("name", Text),
    moment("created_at", now=True),
    # Set when an administrator closes the account; all sessions end with it.
    moment("disabled_at"),
    CheckConstraint("role IN ('user', 'auditor', 'admin')", name="role"),
    CheckConstraint("password_hash IS NULL OR email IS NOT NULL", name="password_has_email"),
    Index("ix_person_email", "email"),
    Index("uq_person_local_email", "email", unique=True, postgresql_where=text("password_hash IS NOT NULL")),
)

#: Whom a provider of OpenID Connect knows by `subject`. The address of the provider is a part of the name.
identity = Table(
    "identity",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("person_id", ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    moment("created_at", now=True),
    Index("ix_identity_subject", "subject"),
)

#: A session is one browser in which a person is signed in. Its end removes the row.
session = Table(
    "session",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    # The cookie holds the token; nobody who reads this table can use it.
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("person_id", ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("device", Text, nullable=False),
    Column("address", Text, nullable=False),
    # The provider's id of its own session, by which it ends ours.
    Column("provider_sid", Text),
    moment("created_at", now=True),
    moment("seen_at", now=True),
    # These two lead the purge to the oldest sessions.
    Index("ix_session_created_at", "created_at"),
    Index("ix_session_seen_at", "seen_at"),
    Index("ix_session_provider_sid", "provider_sid", postgresql_where=text("provider_sid IS NOT NULL")),
)

#: An invitation, or the way to a new password. Its use removes the row.
link = Table(
    "link",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False),
    # The role that an invitation gives.
    Column("role", Text),
    # Whose password is to be set.
    Column("person_id", ForeignKey("person.id", ondelete="CASCADE"), index=True),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    # Of an invitation: when and by whom it was made, and the address it was sent to, the only one that may use it.
    moment("created_at", now=True),
    Column("made_by", Text),
    Column("email", Text),
    CheckConstraint("kind IN ('invitation', 'password')", name="kind"),
    CheckConstraint("(kind = 'invitation') = (role IS NOT NULL)", name="invitation_has_role"),
    CheckConstraint("(kind = 'password') = (person_id IS NOT NULL)", name="password_has_person"),
)

#: How much of an allowance of attempts is used up: the time at which it is whole again.
sign_in_allowance = Table(
    "sign_in_allowance",
    metadata,
    Column("key", Text, primary_key=True),
    Column("whole_at", DateTime(timezone=True), nullable=False, index=True),
)

#: A person's app makes codes from this secret. People with a row need a code to sign in.
second_factor = Table(
    "second_factor",
    metadata,
    Column("person_id", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    # Encrypted with the key whose id is beside it (shared/people/sealing.py).
    Column("secret", Text, nullable=False),
    Column("key_id", Text, nullable=False, index=True),
    moment("on_since", now=True),
    # The time step of the last code that was accepted: no code works twice.
    Column("last_step", BigInteger, nullable=False),
)

#: Codes for somebody who has lost the app. The use of one removes the row.
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("person_id", ForeignKey("person.id", ondelete="CASCADE"), primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
)

#: A guest's link to their chats from another browser. A guest has one at most.
guest_link = Table(
    "guest_link",
    metadata,
    Column("browser_id", UUID(as_uuid=True), primary_key=True),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("expires_at", DateTime(timezone=True), nullable=False, index=True),
    moment("created_at", now=True),
)
