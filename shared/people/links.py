"""One-time links: an invitation to make an account, and the way to a new password."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, func, insert, select

from shared import audit
from shared.audit import Kind
from shared.errors import BadLink
from shared.people.owner import Owner
from shared.people.tokens import hash_of, new_token
from shared.postgres.database import transaction
from shared.tables import link, person

_L = link.c
_IS_VALID = _L.expires_at > func.statement_timestamp()


def invite(engine: Engine, role: str, *, days: int) -> str:
    """Return the token of a new invitation."""
    token = new_token()
    with transaction(engine) as connection:
        _store(connection, token, timedelta(days=days), kind="invitation", role=role)
        audit.record(connection, Kind.INVITATION_MADE, role=role)
    return token


def allow_new_password(engine: Engine, person_id: UUID, *, hours: int) -> str:
    """Return the token of a new link to set this person's password."""
    token = new_token()
    with transaction(engine) as connection:
        _store(connection, token, timedelta(hours=hours), kind="password", person_id=person_id)
        audit.record(connection, Kind.PASSWORD_LINK_MADE, subject=Owner.person(person_id).key)
    return token


def remove_invitations(connection: Connection) -> None:
    """Make all invitations invalid."""
    connection.execute(delete(link).where(_L.kind == "invitation"))


def is_valid(engine: Engine, token: str, kind: str) -> bool:
    """Whether the link can still be used."""
    found = select(_L.token_hash).where(_L.token_hash == hash_of(token), _L.kind == kind, _IS_VALID)
    with transaction(engine) as connection:
        return connection.execute(found).one_or_none() is not None


def take_invitation(connection: Connection, token: str) -> str:
    """Use an invitation, and return the role that it gives. Raises BadLink."""
    taken = delete(link).where(_L.token_hash == hash_of(token), _L.kind == "invitation", _IS_VALID)
    role: str | None = connection.execute(taken.returning(_L.role)).scalar_one_or_none()
    if role is None:
        raise BadLink
    return role


def email_behind(engine: Engine, token: str) -> str:
    """Return the e-mail address of the account whose password this link sets. Raises BadLink."""
    found = (
        select(person.c.email).join(link, _L.person_id == person.c.id).where(_L.token_hash == hash_of(token), _IS_VALID)
    )
    with transaction(engine) as connection:
        email: str | None = connection.execute(found).scalar_one_or_none()
    if email is None:
        raise BadLink
    return email


def take_password_link(connection: Connection, token: str) -> UUID:
    """Use a link to a new password, with all others of its person, and return the person's id. Raises BadLink."""
    taken = delete(link).where(_L.token_hash == hash_of(token), _L.kind == "password", _IS_VALID)
    person_id: UUID | None = connection.execute(taken.returning(_L.person_id)).scalar_one_or_none()
    if person_id is None:
        raise BadLink
    remove_password_links(connection, person_id)
    return person_id


def remove_password_links(connection: Connection, person_id: UUID) -> None:
    """Make this person's links to a new password invalid."""
    connection.execute(delete(link).where(_L.person_id == person_id))


def _store(connection: Connection, token: str, lifetime: timedelta, **values: object) -> None:
    expires_at = func.clock_timestamp() + lifetime
    connection.execute(insert(link).values(token_hash=hash_of(token), expires_at=expires_at, **values))
