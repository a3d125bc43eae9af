"""People with an account: make, find, list, change.

An account with a password is known by its e-mail address, which nobody checks: an invitation or an administrator
vouches for it. `identities.py` makes those without one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import audit
from shared.audit import Kind
from shared.errors import BadEmail, EmailTaken, InvitationNeeded, LastAdmin, NotFound, WrongPassword
from shared.people import links
from shared.people.owner import Owner
from shared.people.refusals import SeveralAccounts
from shared.postgres.database import transaction
from shared.tables import person, session

#: RFC 5321: a path has at most 256 characters, with its angle brackets.
LONGEST_EMAIL = 254
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+")
#: Held while the number of administrators matters: "naru" on a phone keypad, then 4.
_LOCK = text("SELECT pg_advisory_xact_lock(62784)")
#: Accounts that a listing reads at once.
ROWS_AT_ONCE = 1000
_P = person.c


class Role(StrEnum):
    """The roles: `user` asks, `auditor` will read events without words, `admin` runs Naru."""

    USER = "user"
    AUDITOR = "auditor"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One account. `password_hash` is None if a provider signs the person in; `email` and `name` may be empty."""

    id: UUID
    email: str
    name: str
    role: Role
    created_at: datetime
    is_disabled: bool
    password_hash: str | None = field(repr=False)

    @property
    def owner(self) -> Owner:
        """The owner of this person's conversations."""
        return Owner.person(self.id)

    @property
    def shown(self) -> str:
        """The text by which people recognise the account."""
        return shown(self.id, self.email, self.name)


def shown(person_id: UUID, email: str | None, name: str | None) -> str:
    """Return the e-mail address; without one the name, or the begin of the id."""
    return email or name or str(person_id)[:8]


def normal_email(given: str) -> str:
    """Return the e-mail address in the form in which it is stored and compared. Raises BadEmail."""
    email = unicodedata.normalize("NFKC", given).strip().lower()
    if len(email) > LONGEST_EMAIL or not _EMAIL.fullmatch(email):
        raise BadEmail
    return email


def has_people(engine: Engine) -> bool:
    """Whether there is any account."""
    with transaction(engine) as connection:
        return _has_people(connection)


def sign_up(engine: Engine, *, email: str, password_hash: str, invitation: str, is_open: bool) -> Person:
    """Make an account, with the token of an invitation. Where `is_open`, all but the first do without ("").

    The first account is an administrator's, and makes all other invitations invalid. Raises BadEmail, BadLink,
    InvitationNeeded, EmailTaken and Unavailable.
    """
    email = normal_email(email)
    with transaction(engine) as connection:
        lock(connection)
        is_first = not _has_people(connection)
        role = Role(links.take_invitation(connection, invitation, email=email)) if invitation else Role.USER
        if not invitation and (is_first or not is_open):
            raise InvitationNeeded
        values = {
            "id": uuid4(),
            "email": email,
            "role": Role.ADMIN if is_first else role,
            "password_hash": password_hash,
        }
        # Without a conflict target: with one, a conflict on the other unique index would raise.
        made = connection.execute(upsert(person).values(values).on_conflict_do_nothing().returning(*_COLUMNS))
        row = made.one_or_none()
        if row is None:
            raise EmailTaken
        if is_first:
            links.remove_invitations(connection)  # those that each start printed
        made_person = _person_of(row)
        key = made_person.owner.key
        if invitation:
            audit.record(connection, Kind.INVITATION_USED, subject=key, role=role.value)
        audit.record(connection, Kind.ACCOUNT_MADE, subject=key, role=made_person.role.value)
        return made_person


def find(engine: Engine, email: str) -> Person | None:
    """Return the person with a password and this normal e-mail address."""
    with transaction(engine) as connection:
        this = (_P.email == email, _P.password_hash.is_not(None))
        row = connection.execute(select(*_COLUMNS).where(*this)).one_or_none()
    return row and _person_of(row)


def with_id(engine: Engine, person_id: UUID) -> Person | None:
    """Return the person with this id."""
    with transaction(engine) as connection:
        row = connection.execute(select(*_COLUMNS).where(_P.id == person_id)).one_or_none()
    return row and _person_of(row)


def person_with(engine: Engine, given: str) -> Person:
    """Return the person with this e-mail address in any form, or with this id: `person:<uuid>`.

    Raises NotFound, BadEmail, and SeveralAccounts for an address that several people have.
    """
    with transaction(engine) as connection:
        if given.startswith("person:"):
            person_id = _id_in(given)
            if person_id is None:
                raise NotFound
            return person_in(connection, person_id)
        rows = connection.execute(select(*_COLUMNS).where(_P.email == normal_email(given))).all()
    if not rows:
        raise NotFound
    if len(rows) > 1:
        raise SeveralAccounts
    return _person_of(rows[0])


def person_in(connection: Connection, person_id: UUID) -> Person:
    """Return the person with this id. Raises NotFound."""
    row = connection.execute(select(*_COLUMNS).where(_P.id == person_id)).one_or_none()
    if row is None:
        raise NotFound
    return _person_of(row)


def hold(connection: Connection, person_id: UUID) -> None:
    """Keep the account until the transaction ends. Raises NotFound if it has been deleted."""
    kept = select(person.c.id).where(person.c.id == person_id).with_for_update(read=True)
    if connection.execute(kept).one_or_none() is None:
        raise NotFound


def everyone(engine: Engine) -> list[Person]:
    """Return all people, by e-mail address; those without one come last."""
    with transaction(engine) as connection:
        return [_person_of(row) for row in connection.execute(select(*_COLUMNS).order_by(_P.email))]


def streamed(engine: Engine) -> Iterator[Person]:
    """Yield all people in the order of `everyone`. Reads ROWS_AT_ONCE at once, so their number does not matter."""
    with transaction(engine) as connection:
        reading = connection.execution_options(stream_results=True, max_row_buffer=ROWS_AT_ONCE)
        for row in reading.execute(select(*_COLUMNS).order_by(_P.email)):
            yield _person_of(row)


def lock(connection: Connection) -> None:
    """Wait until no other transaction makes an account or changes a role, and keep them from it until this one ends."""
    connection.execute(_LOCK)


def emails_of(engine: Engine, owner_keys: Collection[str]) -> dict[str, str]:
    """Return the e-mail addresses of those owners that have an account, by the owner's key."""
    ids = [found for key in owner_keys if (found := _id_in(key)) is not None]
    with transaction(engine) as connection:
        rows = connection.execute(select(_P.id, _P.email).where(_P.id.in_(ids))).all()
    return {_key(row.id): row.email for row in rows if row.email}


def set_role(engine: Engine, person_id: UUID, role: Role) -> None:
    """Give the person this role, and end all their sessions, which have the old one. Raises LastAdmin."""
    with transaction(engine) as connection:
        set_role_in(connection, person_id, role)


def set_role_in(connection: Connection, person_id: UUID, role: Role) -> None:
    """Do the same in the caller's transaction. LastAdmin leaves the transaction usable."""
    lock(connection)
    if role is not Role.ADMIN:
        _keep_an_admin(connection, person_id)
    before = connection.execute(select(_P.role).where(_P.id == person_id)).scalar_one()
    connection.execute(update(person).where(_P.id == person_id).values(role=role))
    _end_sessions(connection, person_id)
    audit.record(connection, Kind.ROLE_CHANGED, subject=_key(person_id), before=before, role=role.value)


def disable(engine: Engine, person_id: UUID) -> None:
    """Close the account, and end all its sessions. The chats are kept. Raises LastAdmin."""
    with transaction(engine) as connection:
        lock(connection)
        _keep_an_admin(connection, person_id)
        connection.execute(update(person).where(_P.id == person_id).values(disabled_at=func.clock_timestamp()))
        _end_sessions(connection, person_id)
        audit.record(connection, Kind.ACCOUNT_DISABLED, subject=_key(person_id))


def enable(engine: Engine, person_id: UUID) -> None:
    """Open the account again."""
    with transaction(engine) as connection:
        connection.execute(update(person).where(_P.id == person_id).values(disabled_at=None))
        audit.record(connection, Kind.ACCOUNT_ENABLED, subject=_key(person_id))


def set_password(connection: Connection, person_id: UUID, password_hash: str, *, instead_of: str | None = None) -> None:
    """Replace the password. The caller ends the sessions.

    With `instead_of`, the hash of the password that was checked: raises WrongPassword if it is no longer the one.
    """
    this = (_P.id == person_id, *(() if instead_of is None else (_P.password_hash == instead_of,)))
    changed = connection.execute(update(person).where(*this).values(password_hash=password_hash))
    if not changed.rowcount:
        raise WrongPassword


def check_removable(engine: Engine, person_id: UUID) -> None:
    """Raise LastAdmin for the only administrator."""
    with transaction(engine) as connection:
        _keep_an_admin(connection, person_id)


def remove(engine: Engine, person_id: UUID, *, conversations: int) -> None:
    """Remove the account with its sessions and links, but not its chats. Raises LastAdmin.

    `conversations` is the number of its chats, for the record.
    """
    with transaction(engine) as connection:
        lock(connection)
        _keep_an_admin(connection, person_id)
        connection.execute(delete(person).where(_P.id == person_id))
        audit.record(connection, Kind.ACCOUNT_DELETED, subject=_key(person_id), conversations=conversations)


def _key(person_id: UUID) -> str:
    return Owner.person(person_id).key


def _id_in(owner_key: str) -> UUID | None:
    owner = Owner.from_key(owner_key)
    try:
        return UUID(owner.id) if owner.kind == "person" else None
    except ValueError:
        return None


def _has_people(connection: Connection) -> bool:
    return bool(connection.execute(select(select(_P.id).exists())).scalar_one())


def _keep_an_admin(connection: Connection, person_id: UUID) -> None:
    others = (_P.role == Role.ADMIN, _P.disabled_at.is_(None), _P.id != person_id)
    is_admin = select(_P.id).where(_P.role == Role.ADMIN, _P.disabled_at.is_(None), _P.id == person_id).exists()
    if connection.execute(select(is_admin & ~select(_P.id).where(*others).exists())).scalar_one():
        raise LastAdmin


def _end_sessions(connection: Connection, person_id: UUID) -> None:
    connection.execute(delete(session).where(session.c.person_id == person_id))


_COLUMNS = (_P.id, _P.email, _P.name, _P.role, _P.created_at, _P.disabled_at, _P.password_hash)


def _person_of(row: Any) -> Person:
    return Person(
        id=row.id,
        email=row.email or "",
        name=row.name or "",
        role=Role(row.role),
        created_at=row.created_at,
        is_disabled=row.disabled_at is not None,
        password_hash=row.password_hash,
    )
