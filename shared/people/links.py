"""One-time links: an invitation to make an account, and the way to a new password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, func, insert, or_, select

from shared import audit
from shared.audit import Kind
from shared.errors import BadLink, NotFound
from shared.people.owner import Owner
from shared.people.tokens import hash_of, new_token
from shared.postgres.database import transaction
from shared.tables import link, person

#: An invitation is named by this many hex digits of its hash.
ID_DIGITS = 12
_L = link.c
_IS_VALID = _L.expires_at > func.statement_timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """One line of the list of invitations. `id` names it in a command and reveals nothing of its token."""

    id: str
    role: str
    email: str | None
    made_by: str | None
    created_at: datetime
    expires_at: datetime


def invite(engine: Engine, role: str, *, days: int, email: str | None = None, made_by: str | None = None) -> str:
    """Return the token of a new invitation. With `email`, a normal address, it makes an account of this one only.

    `made_by` is the key of an owner.
    """
    token = new_token()
    with transaction(engine) as connection:
        values = {"role": role, "email": email, "made_by": made_by}
        _store(connection, token, timedelta(days=days), kind="invitation", **values)
        audit.record(connection, Kind.INVITATION_MADE, role=role)
    return token


def invitations(engine: Engine) -> list[Invitation]:
    """Return the invitations that can still be used, the oldest first."""
    found = select(link).where(_L.kind == "invitation", _IS_VALID).order_by(_L.created_at)
    with transaction(engine) as connection:
        return [
            Invitation(
                id=row.token_hash.hex()[:ID_DIGITS],
                role=row.role,
                email=row.email,
                made_by=row.made_by,
                created_at=row.created_at,
                expires_at=row.expires_at,
            )
            for row in connection.execute(found)
        ]


def withdraw(engine: Engine, invitation_id: str) -> None:
    """Make an invitation invalid. Raises NotFound."""
    digits = func.left(func.encode(_L.token_hash, "hex"), ID_DIGITS)
    withdrawn = delete(link).where(_L.kind == "invitation", _IS_VALID, digits == invitation_id)
    with transaction(engine) as connection:
        if not connection.execute(withdrawn).rowcount:
            raise NotFound
        audit.record(connection, Kind.INVITATION_WITHDRAWN)


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


def invited_email(engine: Engine, token: str) -> str | None:
    """Return the only e-mail address that this invitation is for; None if it is for any, or cannot be used."""
    found = select(_L.email).where(_L.token_hash == hash_of(token), _L.kind == "invitation", _IS_VALID)
    with transaction(engine) as connection:
        email: str | None = connection.execute(found).scalar_one_or_none()
    return email


def take_invitation(connection: Connection, token: str, *, email: str) -> str:
    """Use an invitation for an account with this address, and return the role that it gives. Raises BadLink."""
    is_for = or_(_L.email.is_(None), _L.email == email)
    taken = delete(link).where(_L.token_hash == hash_of(token), _L.kind == "invitation", _IS_VALID, is_for)
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
