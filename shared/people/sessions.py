"""Sessions: the browsers in which people are signed in. A session that has ended has no row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Engine, cast, delete, func, insert, select, update

from shared.errors import WrongPassword
from shared.people.accounts import Person
from shared.people.owner import Owner
from shared.people.tokens import hash_of, new_token
from shared.postgres.database import statement, transaction
from shared.settings import Settings
from shared.tables import person, session

#: `seen_at` is written again after this time: the idle limit counts days.
SEEN_AFTER = timedelta(minutes=10)
#: Longest description of a device.
LONGEST_DEVICE = 200
_S, _P = session.c, person.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A session and its person, as they were when they were read."""

    session_id: UUID
    person_id: UUID
    email: str
    role: str
    token_hash: bytes = field(repr=False)

    @property
    def owner(self) -> Owner:
        """The owner of this person's conversations."""
        return Owner.person(self.person_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One line of a person's list of devices."""

    id: UUID
    device: str
    address: str
    created_at: datetime
    seen_at: datetime


def begin(engine: Engine, whose: Person, *, device: str, address: str, ends: UUID | None = None) -> str:
    """Begin a session, and return its token. `ends` is a session of the same browser that ends with it.

    Raises WrongPassword if the password has changed since `whose` was read, or the account was disabled.
    """
    token = new_token()
    values = {"id": uuid4(), "token_hash": hash_of(token), "device": device[:LONGEST_DEVICE], "address": address}
    chosen = (
        select(_P.id, *(cast(value, _S[name].type) for name, value in values.items()))
        .where(_P.id == whose.id, _P.password_hash == whose.password_hash, _P.disabled_at.is_(None))
        .with_for_update(read=True)
    )
    with transaction(engine) as connection:
        if ends is not None:
            connection.execute(delete(session).where(_S.id == ends))
        if not connection.execute(insert(session).from_select(["person_id", *values], chosen)).rowcount:
            raise WrongPassword
    return token


def read(engine: Engine, hashes: Collection[bytes], settings: Settings) -> dict[bytes, SignedIn]:
    """Return the sessions that these hashes of tokens belong to, without those that have ended or expired.

    Marks them as seen. Raises Unavailable.
    """
    columns = (_S.token_hash, _S.id, _S.seen_at, _S.person_id, _P.email, _P.role)
    found = (
        select(*columns, (_S.seen_at < func.statement_timestamp() - SEEN_AFTER).label("is_old"))
        .join(person, _P.id == _S.person_id)
        .where(_S.token_hash.in_(hashes), _P.disabled_at.is_(None), *_lives(settings))
    )
    with transaction(engine) as connection:
        rows = connection.execute(found).all()
        if old := [row.id for row in rows if row.is_old]:
            connection.execute(update(session).where(_S.id.in_(old)).values(seen_at=func.clock_timestamp()))
    return {
        row.token_hash: SignedIn(
            session_id=row.id, person_id=row.person_id, email=row.email, role=row.role, token_hash=row.token_hash
        )
        for row in rows
    }


def read_by_id(engine: Engine, session_id: UUID, settings: Settings) -> SignedIn | None:
    """Return this session as it is now; None once it has ended or expired. Raises Unavailable."""
    found = (
        select(_S.id, _S.token_hash, _S.person_id, _P.email, _P.role)
        .join(person, _P.id == _S.person_id)
        .where(_S.id == session_id, _P.disabled_at.is_(None), *_lives(settings))
    )
    with statement(engine) as connection:
        row = connection.execute(found).one_or_none()
    return row and SignedIn(
        session_id=row.id, person_id=row.person_id, email=row.email, role=row.role, token_hash=row.token_hash
    )


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
        connection.execute(delete(session).where(_S.person_id == person_id, _S.id == session_id))


def end_with(engine: Engine, token: str) -> None:
    """End the session with this token, if there is one."""
    with transaction(engine) as connection:
        connection.execute(delete(session).where(_S.token_hash == hash_of(token)))


def end_all(engine: Engine, person_id: UUID) -> int:
    """End all sessions of this person, and return their number."""
    with transaction(engine) as connection:
        return end_all_in(connection, person_id)


def end_all_in(connection: Connection, person_id: UUID, *, but: UUID | None = None) -> int:
    """End the person's sessions in the caller's transaction, except the one with the id `but`."""
    kept = () if but is None else (_S.id != but,)
    return int(connection.execute(delete(session).where(_S.person_id == person_id, *kept)).rowcount)


def _lives(settings: Settings) -> tuple[ColumnElement[bool], ...]:
    now = func.statement_timestamp()
    return (
        _S.created_at > now - timedelta(days=settings.session_days),
        _S.seen_at > now - timedelta(days=settings.session_idle_days),
    )
