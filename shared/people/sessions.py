"""Sessions: the browsers in which people are signed in. A session that has ended has no row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Engine, Select, cast, delete, func, insert, or_, select, update

from shared import audit
from shared.audit import Kind
from shared.errors import WrongPassword
from shared.people.accounts import Person, Role, shown
from shared.people.groups import effective_role
from shared.people.owner import Owner
from shared.people.tokens import hash_of, new_token
from shared.postgres.database import statement, transaction
from shared.settings import ADMINS, EVERYONE, OPTIONAL, Settings
from shared.tables import person, second_factor, session

#: `seen_at` is written again after this time: the idle limit counts days.
SEEN_AFTER = timedelta(minutes=10)
#: Longest description of a device.
LONGEST_DEVICE = 200
_S, _P = session.c, person.c
#: How somebody signed in. The company decides itself on the factors that it asks for.
PASSWORD, PASSWORD_AND_CODE, COMPANY = "password", "password, code", "company"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A session and its person, as they were when they were read."""

    session_id: UUID
    person_id: UUID
    email: str
    role: str
    name: str = ""
    #: False for a person whom a provider of OpenID Connect has signed in.
    has_password: bool = True
    token_hash: bytes = field(repr=False)

    @property
    def owner(self) -> Owner:
        """The owner of this person's conversations."""
        return Owner.person(self.person_id)

    @property
    def shown(self) -> str:
        """The text by which people recognise the account."""
        return shown(self.person_id, self.email, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One line of a person's list of devices."""

    id: UUID
    device: str
    address: str
    created_at: datetime
    seen_at: datetime


def begin(
    engine: Engine,
    whose: Person,
    *,
    device: str,
    address: str,
    ends: UUID | None = None,
    provider_sid: str | None = None,
    factors: str = PASSWORD,
) -> str:
    """Begin a session, and return its token. `ends` is a session of the same browser that ends with it.

    `factors` says for the record how the person signed in: PASSWORD, PASSWORD_AND_CODE or COMPANY. `provider_sid` is
    the provider's id of its session, if it has one. Raises WrongPassword if the password has changed since `whose` was
    read, or the account was disabled.
    """
    token = new_token()
    values = {
        "id": uuid4(),
        "token_hash": hash_of(token),
        "device": device[:LONGEST_DEVICE],
        "address": address,
        "provider_sid": provider_sid,
    }
    chosen = (
        select(_P.id, *(cast(value, _S[name].type) for name, value in values.items()))
        .where(_P.id == whose.id, _P.password_hash.is_not_distinct_from(whose.password_hash), _P.disabled_at.is_(None))
        .with_for_update(read=True)
    )
    with transaction(engine) as connection:
        if ends is not None:
            connection.execute(delete(session).where(_S.id == ends))
        if not connection.execute(insert(session).from_select(["person_id", *values], chosen)).rowcount:
            raise WrongPassword
        audit.record(connection, Kind.SIGNED_IN, actor=whose.owner.key, subject=whose.owner.key, factors=factors)
    return token


def read(engine: Engine, hashes: Collection[bytes], settings: Settings) -> dict[bytes, SignedIn]:
    """Return the sessions that these hashes of tokens belong to, without those that have ended or expired.

    One of a person who has to have a second factor and has none does not count. Marks them as seen. Raises Unavailable.
    """
    found = (
        _signed_in((_S.seen_at < func.statement_timestamp() - SEEN_AFTER).label("is_old"))
        .join(person, _P.id == _S.person_id)
        .where(_S.token_hash.in_(hashes), _P.disabled_at.is_(None), *_lives(settings), *_may_enter(settings))
    )
    with transaction(engine) as connection:
        rows = connection.execute(found).all()
        if old := [row.id for row in rows if row.is_old]:
            connection.execute(update(session).where(_S.id.in_(old)).values(seen_at=func.clock_timestamp()))
    return {row.token_hash: _person_in(row) for row in rows}


def _signed_in(*more: ColumnElement[Any]) -> Select[Any]:
    """Return the SELECT for `_person_in`, to be joined with `person`."""
    has_password = _P.password_hash.is_not(None).label("has_password")
    role = effective_role().label("role")
    return select(_S.token_hash, _S.id, _S.seen_at, _S.person_id, _P.email, _P.name, role, has_password, *more)


def _person_in(row: Any) -> SignedIn:
    return SignedIn(
        session_id=row.id,
        person_id=row.person_id,
        email=row.email or "",
        name=row.name or "",
        role=row.role,
        has_password=row.has_password,
        token_hash=row.token_hash,
    )


def read_by_id(engine: Engine, session_id: UUID, settings: Settings) -> SignedIn | None:
    """Return this session as it is now; None once it has ended or expired. Raises Unavailable."""
    found = (
        _signed_in()
        .join(person, _P.id == _S.person_id)
        .where(_S.id == session_id, _P.disabled_at.is_(None), *_lives(settings), *_may_enter(settings))
    )
    with statement(engine) as connection:
        row = connection.execute(found).one_or_none()
    return None if row is None else _person_in(row)


def sessions_of(engine: Engine, person_id: UUID, settings: Settings) -> list[Session]:
    """Return the person's sessions, the last seen first."""
    found = select(session).where(_S.person_id == person_id, *_lives(settings)).order_by(_S.seen_at.desc())
    with transaction(engine) as connection:
        return [
            Session(id=row.id, device=row.device, address=row.address, created_at=row.created_at, seen_at=row.seen_at)
            for row in connection.execute(found)
        ]


def end(engine: Engine, person_id: UUID, session_id: UUID) -> None:
    """End one session of this person; no other person's."""
    with transaction(engine) as connection:
        ended = connection.execute(delete(session).where(_S.person_id == person_id, _S.id == session_id)).rowcount
        _note_ended(connection, person_id, int(ended))


def end_with(engine: Engine, token: str) -> None:
    """End the session with this token, if there is one."""
    ended = delete(session).where(_S.token_hash == hash_of(token)).returning(_S.person_id)
    with transaction(engine) as connection:
        person_id = connection.execute(ended).scalar_one_or_none()
        if person_id is not None:
            audit.record(connection, Kind.SIGNED_OUT, subject=Owner.person(person_id).key)


def end_all(engine: Engine, person_id: UUID) -> int:
    """End all sessions of this person, and return their number."""
    with transaction(engine) as connection:
        number = end_all_in(connection, person_id)
        _note_ended(connection, person_id, number)
        return number


def end_all_in(connection: Connection, person_id: UUID, *, but: UUID | None = None) -> int:
    """End the person's sessions in the caller's transaction, except the one with the id `but`."""
    kept = () if but is None else (_S.id != but,)
    return int(connection.execute(delete(session).where(_S.person_id == person_id, *kept)).rowcount)


def needs_factor(settings: Settings, role: str) -> bool:
    """Whether people with this role and a password have to have a second factor."""
    return settings.second_factor == EVERYONE or (settings.second_factor == ADMINS and role == Role.ADMIN)


def _may_enter(settings: Settings) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for sessions that begin in a way that is switched on, with what the person needs."""
    needed = _has_what_it_needs(settings)
    if settings.has_passwords == settings.has_openid:
        return needed
    return (_P.password_hash.is_not(None) if settings.has_passwords else _P.password_hash.is_(None), *needed)


def _has_what_it_needs(settings: Settings) -> tuple[ColumnElement[bool], ...]:
    """Return the condition for a second factor, which the company's provider asks of those whom it signs in."""
    if settings.second_factor == OPTIONAL:
        return ()
    f = second_factor.c
    has_factor = or_(select(f.person_id).where(f.person_id == _P.id).exists(), _P.password_hash.is_(None))
    return (has_factor,) if settings.second_factor == EVERYONE else (or_(effective_role() != Role.ADMIN, has_factor),)


def _note_ended(connection: Connection, person_id: UUID, number: int) -> None:
    if number:
        audit.record(connection, Kind.SESSIONS_ENDED, subject=Owner.person(person_id).key, sessions=number)


def _lives(settings: Settings) -> tuple[ColumnElement[bool], ...]:
    now = func.statement_timestamp()
    return (
        _S.created_at > now - timedelta(days=settings.session_days),
        _S.seen_at > now - timedelta(days=settings.session_idle_days),
    )
