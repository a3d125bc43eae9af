"""Second factors as rows: who has one, and how it is switched off without a code. `codes` makes and checks codes.

Apart from `codes`, so that `naru people` needs no cryptography in the image of the backups.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, func, select

from shared import audit
from shared.audit import Kind
from shared.people.owner import Owner
from shared.people.sessions import end_all_in
from shared.postgres.database import transaction
from shared.tables import recovery_code, second_factor

_F, _R = second_factor.c, recovery_code.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """A person's second factor, as their page shows it."""

    on_since: datetime
    codes_left: int


def is_on(engine: Engine, person_id: UUID) -> bool:
    """Whether this person needs a code to sign in."""
    with transaction(engine) as connection:
        return is_on_in(connection, person_id)


def is_on_in(connection: Connection, person_id: UUID) -> bool:
    """Whether this person needs a code, in the caller's transaction."""
    found = select(_F.person_id).where(_F.person_id == person_id)
    return connection.execute(found).one_or_none() is not None


def factor_of(engine: Engine, person_id: UUID) -> Factor | None:
    """Return the person's second factor, if it is on."""
    left = select(func.count()).where(_R.person_id == person_id).scalar_subquery()
    found = select(_F.on_since, left.label("left")).where(_F.person_id == person_id)
    with transaction(engine) as connection:
        row = connection.execute(found).one_or_none()
    return None if row is None else Factor(on_since=row.on_since, codes_left=row.left)


def reset(engine: Engine, person_id: UUID) -> bool:
    """Switch the factor off without a code, and end all sessions. Returns whether it was on; otherwise nothing ends."""
    with transaction(engine) as connection:
        was_on = is_on_in(connection, person_id)
        remove_in(connection, person_id)
        if was_on:
            end_all_in(connection, person_id)
            audit.record(connection, Kind.FACTOR_SWITCHED_OFF, subject=Owner.person(person_id).key)
        return was_on


def remove_in(connection: Connection, person_id: UUID) -> None:
    """Remove the factor and the recovery codes, in the caller's transaction."""
    for table in (recovery_code, second_factor):
        connection.execute(delete(table).where(table.c.person_id == person_id))
