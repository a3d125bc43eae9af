"""Groups of people: they share limits (shared/spending/), models and a role.

The company's sign-in may say who belongs to a group.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, Engine, case, delete, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import audit
from shared.audit import Kind
from shared.errors import NotFound
from shared.people.owner import Owner
from shared.people.refusals import BadGroupName, BadModelPattern
from shared.postgres.database import transaction
from shared.tables import membership, person, person_group, session

LONGEST_NAME = 100
#: A provider, a slash and a model; * stands for any text. The other special characters of fnmatch are refused.
_PATTERN = re.compile(r"[^\s/\[\]?]{1,60}/[^\s\[\]?]{1,200}")
MOST_PATTERNS = 50
_G, _M = person_group.c, membership.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group and the number of its members."""

    id: UUID
    name: str
    members: int = 0
    #: The models that only its members may use, as patterns (`openai/o3*`).
    models: tuple[str, ...] = ()
    #: The role that each member has at least; "" for none.
    role: str = ""
    #: The guard of personal data in a member's question, `warn` or `block`; "" leaves it to the settings.
    personal_data: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one group for its members: see Group."""

    group_id: UUID
    models: tuple[str, ...] = ()
    personal_data: str = ""


def normal_name(given: str) -> str:
    """Return a group's name without outer and repeated spaces. Raises BadGroupName."""
    name = " ".join(given.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadGroupName
    return name


def is_name(given: str) -> bool:
    """Whether a group can have this name."""
    try:
        normal_name(given)
    except BadGroupName:
        return False
    return True


def everything(engine: Engine) -> list[Group]:
    """Return all groups, by name."""
    members = select(func.count()).where(_M.group_id == _G.id).scalar_subquery()
    columns = (_G.id, _G.name, _G.models, _G.role, _G.personal_data, members.label("members"))
    with transaction(engine) as connection:
        rows = connection.execute(select(*columns).order_by(_G.name)).all()
    return [
        Group(
            id=row.id,
            name=row.name,
            members=row.members,
            models=tuple(row.models),
            role=row.role or "",
            personal_data=row.personal_data or "",
        )
        for row in rows
    ]


def group_with(engine: Engine, name: str) -> Group:
    """Return the group with this name. Raises NotFound and BadGroupName."""
    name = normal_name(name)
    found = next((group for group in everything(engine) if group.name == name), None)
    if found is None:
        raise NotFound
    return found


def join(engine: Engine, person_id: UUID, name: str) -> None:
    """Add a person to the group, which is made if there is none with this name. Raises BadGroupName and NotFound.

    The person's sessions end if the group has a role.
    """
    with transaction(engine) as connection:
        _lock_person(connection, person_id)
        _join(connection, person_id, [normal_name(name)], from_claim=False)
        _end_sessions_with_role(connection, person_id, _G.name == normal_name(name))
        audit.record(connection, Kind.GROUP_JOINED, subject=Owner.person(person_id).key, group=normal_name(name))


def leave(engine: Engine, person_id: UUID, group_id: UUID) -> None:
    """Take a person out of a group; ends the person's sessions if the group has a role."""
    with transaction(engine) as connection:
        _end_sessions_with_role(connection, person_id, _G.id == group_id)
        left = delete(membership).where(_M.person_id == person_id, _M.group_id == group_id)
        if connection.execute(left).rowcount:
            subject = Owner.person(person_id).key
            audit.record(connection, Kind.GROUP_LEFT, subject=subject, group=_name_of(connection, group_id))


def set_models(engine: Engine, group_id: UUID, patterns: Sequence[str]) -> None:
    """Reserve these models for the members of this group and of others that name them too.

    Raises BadModelPattern and NotFound.
    """
    given = sorted(set(patterns))
    if len(given) > MOST_PATTERNS or not all(_PATTERN.fullmatch(each) for each in given):
        raise BadModelPattern
    with transaction(engine) as connection:
        hold(connection, group_id)
        connection.execute(update(person_group).where(_G.id == group_id).values(models=given))
        name = _name_of(connection, group_id)
        audit.record(connection, Kind.GROUP_CHANGED, group=name, models=", ".join(given) or "-")


def set_role(engine: Engine, group_id: UUID, role: str) -> None:
    """Give each member at least this role, "" for none; ends their sessions, which have the old one."""
    members = select(_M.person_id).where(_M.group_id == group_id)
    with transaction(engine) as connection:
        connection.execute(update(person_group).where(_G.id == group_id).values(role=role or None))
        connection.execute(delete(session).where(session.c.person_id.in_(members)))
        audit.record(connection, Kind.GROUP_CHANGED, group=_name_of(connection, group_id), role=role or "-")


def hold(connection: Connection, group_id: UUID) -> None:
    """Keep the group until the transaction ends. Raises NotFound if it has been removed."""
    kept = select(_G.id).where(_G.id == group_id).with_for_update(read=True)
    if connection.execute(kept).one_or_none() is None:
        raise NotFound


def guard(engine: Engine, group_id: UUID, policy: str) -> None:
    """Let questions with personal data of members `warn` or `block`; "" leaves it to the settings."""
    with transaction(engine) as connection:
        connection.execute(update(person_group).where(_G.id == group_id).values(personal_data=policy or None))
        name = _name_of(connection, group_id)
        audit.record(connection, Kind.GROUP_CHANGED, group=name, personal_data=policy or "-")


def rules(connection: Connection) -> list[Rules]:
    """Return the rules of the groups that reserve models or guard personal data."""
    has_rules = or_(func.cardinality(_G.models) > 0, _G.personal_data.is_not(None))
    rows = connection.execute(select(_G.id, _G.models, _G.personal_data).where(has_rules))
    return [Rules(group_id=row.id, models=tuple(row.models), personal_data=row.personal_data or "") for row in rows]


def matches(model: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns names this model."""
    return bool(patterns) and _any_of(patterns).match(model) is not None


@lru_cache(maxsize=256)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one pattern for all: a page tries each of up to thousands of models."""
    return re.compile("|".join(map(translate, patterns)))


def usable(connection: Connection, owner: Owner, models: Sequence[str]) -> list[str]:
    """Return those of the models that the owner may use: nobody reserves them, or one of the owner's groups does."""
    found = [each for each in rules(connection) if each.models]
    if not found:
        return list(models)
    theirs = {each.id for each in groups_of(connection, UUID(owner.id))} if owner.kind == "person" else set()
    own = tuple(pattern for each in found if each.group_id in theirs for pattern in each.models)
    others = tuple(pattern for each in found if each.group_id not in theirs for pattern in each.models)
    return [each for each in models if matches(each, own) or not matches(each, others)]


def effective_role() -> ColumnElement[str]:
    """Return the highest of a person's own role and those of their groups, for a statement that reads `person`."""
    of_groups = select(_G.role).join(membership, _M.group_id == _G.id).where(_M.person_id == person.c.id)

    def has(role: str) -> ColumnElement[bool]:
        return or_(person.c.role == role, literal(role).in_(of_groups))

    return case((has("admin"), "admin"), (has("auditor"), "auditor"), else_=person.c.role)


def remove(connection: Connection, group_id: UUID) -> None:
    """Remove a group and its memberships, but nobody's account. The caller removes its limits."""
    name = _name_of(connection, group_id)
    connection.execute(delete(person_group).where(_G.id == group_id))
    audit.record(connection, Kind.GROUP_REMOVED, group=name)


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


def _end_sessions_with_role(connection: Connection, person_id: UUID, *is_group: ColumnElement[bool]) -> None:
    gives_role = select(_G.id).where(*is_group, _G.role.is_not(None)).exists()
    connection.execute(delete(session).where(session.c.person_id == person_id, gives_role))


def _name_of(connection: Connection, group_id: UUID) -> str:
    """Return the group's name, for the record; "" if it has gone."""
    return connection.execute(select(_G.name).where(_G.id == group_id)).scalar_one_or_none() or ""


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
