"""Groups of people: they share limits (shared/spending/), and the company's sign-in may say who belongs to them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.errors import BadGroupName, NotFound
from shared.postgres.database import transaction
from shared.tables import membership, person, person_group

LONGEST_NAME = 100
_G, _M = person_group.c, membership.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group and the number of its members."""

    id: UUID
    name: str
    members: int = 0


def normal_name(given: str) -> str:
    """Return a group's name without outer and repeated spaces. Raises BadGroupName."""
    name = " ".join(given.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadGroupName
    return name


def everything(engine: Engine) -> list[Group]:
    """Return all groups, by name."""
    members = select(func.count()).where(_M.group_id == _G.id).scalar_subquery()
    with transaction(engine) as connection:
        rows = connection.execute(select(_G.id, _G.name, members.label("members")).order_by(_G.name)).all()
    return [Group(id=row.id, name=row.name, members=row.members) for row in rows]


def group_with(engine: Engine, name: str) -> Group:
    """Return the group with this name. Raises NotFound and BadGroupName."""
    name = normal_name(name)
    found = next((group for group in everything(engine) if group.name == name), None)
    if found is None:
        raise NotFound
    return found


def join(engine: Engine, person_id: UUID, name: str) -> None:
    """Add a person to the group, which is made if there is none with this name. Raises BadGroupName and NotFound."""
    with transaction(engine) as connection:
        _lock_person(connection, person_id)
        _join(connection, person_id, [normal_name(name)], from_claim=False)


def leave(engine: Engine, person_id: UUID, group_id: UUID) -> None:
    """Take a person out of a group."""
    with transaction(engine) as connection:
        connection.execute(delete(membership).where(_M.person_id == person_id, _M.group_id == group_id))


def remove(connection: Connection, group_id: UUID) -> None:
    """Remove a group and its memberships, but nobody's account. The caller removes its limits."""
    connection.execute(delete(person_group).where(_G.id == group_id))


def groups_of(connection: Connection, person_id: UUID) -> list[Group]:
    """Return the groups of a person, by name."""
    theirs = select(_G.id, _G.name).join(membership, _M.group_id == _G.id).where(_M.person_id == person_id)
    rows = connection.execute(theirs.order_by(_G.name))
    return [Group(id=row.id, name=row.name) for row in rows]


def set_from_claim(connection: Connection, person_id: UUID, names: Collection[str]) -> None:
    """Replace the groups that an earlier claim gave the person; those that an administrator gave stay.

    Groups that do not exist are made. Raises BadGroupName and NotFound.
    """
    wanted = sorted({normal_name(name) for name in names})
    _lock_person(connection, person_id)
    others = select(_G.id).where(_G.name.not_in(wanted))
    connection.execute(
        delete(membership).where(_M.person_id == person_id, _M.from_claim.is_(True), _M.group_id.in_(others))
    )
    _join(connection, person_id, wanted, from_claim=True)


def _lock_person(connection: Connection, person_id: UUID) -> None:
    """Lock the person, so that two sign-ins at once do not mix. Raises NotFound."""
    if connection.execute(select(person.c.id).where(person.c.id == person_id).with_for_update()).one_or_none() is None:
        raise NotFound


def _join(connection: Connection, person_id: UUID, names: Collection[str], *, from_claim: bool) -> None:
    if not names:
        return
    made = [{"id": uuid4(), "name": name} for name in names]  # sorted: two sign-ins lock in the same order
    connection.execute(upsert(person_group).on_conflict_do_nothing(), made)
    found = select(_G.id).where(_G.name.in_(names))
    values = [
        {"person_id": person_id, "group_id": group_id, "from_claim": from_claim}
        for group_id in connection.execute(found).scalars()
    ]
    connection.execute(upsert(membership).on_conflict_do_nothing(), values)
