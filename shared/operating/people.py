"""People as administrators see them: their accounts, and how many browsers they are signed in with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, text

from shared.errors import NotFound
from shared.people.accounts import Role
from shared.postgres.database import statement

#: The most people in one list.
MOST_PEOPLE = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonNow:
    """One account."""

    id: UUID
    #: The e-mail address; without one the name, or the begin of the id.
    email: str
    role: Role
    has_password: bool
    is_disabled: bool
    created_at: datetime
    sessions: int
    #: When one of the sessions was last used, within ten minutes; None while signed out.
    seen_at: datetime | None


_FOUND = """
    SELECT p.id, coalesce(p.email, p.name, left(p.id::text, 8)) AS email, p.role,
           p.password_hash IS NOT NULL AS has_password, p.disabled_at IS NOT NULL AS is_disabled,
           p.created_at, s.sessions, s.seen_at
    FROM (SELECT * FROM person WHERE CHOSEN ORDER BY email LIMIT :most) AS p
    CROSS JOIN LATERAL (
        SELECT count(*)::int AS sessions, max(seen_at) AS seen_at FROM session WHERE person_id = p.id
    ) AS s
    ORDER BY p.email
"""
_ALL = text(_FOUND.replace("CHOSEN", ":part = '' OR strpos(email, :part) > 0 OR strpos(lower(name), :part) > 0"))
_ONE = text(_FOUND.replace("CHOSEN", "id = :person_id"))


def people_with(engine: Engine, part: str, *, most: int = MOST_PEOPLE) -> list[PersonNow]:
    """Return the first people whose e-mail address or name contains `part`, by address. Raises Unavailable."""
    values = {"part": part.strip().lower().replace("\x00", ""), "most": most}
    with statement(engine) as connection:
        return [_person(dict(row)) for row in connection.execute(_ALL, values).mappings()]


def person_now(engine: Engine, person_id: UUID) -> PersonNow:
    """Return one person. Raises NotFound and Unavailable."""
    with statement(engine) as connection:
        row = connection.execute(_ONE, {"person_id": person_id, "most": 1}).mappings().one_or_none()
    if row is None:
        raise NotFound
    return _person(dict(row))


def _person(row: dict[str, object]) -> PersonNow:
    return PersonNow(**{**row, "role": Role(str(row["role"]))})  # type: ignore[arg-type]
