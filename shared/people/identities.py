"""People whom a provider of OpenID Connect signs in.

A person is known by (issuer, subject), never by the e-mail address: a provider may give an address to somebody else, or
not check it. So an account with a password and one of the provider stay apart, even with the same address.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from shared import audit
from shared.audit import Kind
from shared.errors import LastAdmin, TooManySignIns
from shared.people import accounts, allowances, groups
from shared.people.accounts import Person, Role
from shared.people.owner import Owner
from shared.people.refusals import AccountDisabled, IssuerChanged, SignInInvalid
from shared.people.tokens import hash_of
from shared.postgres.database import transaction
from shared.tables import identity, person, session

log = logging.getLogger(__name__)

_I, _P, _S = identity.c, person.c, session.c
#: The weakest first.
_ROLES = (Role.USER, Role.AUDITOR, Role.ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A person as a provider describes them after a sign-in. `email` and `name` may be empty."""

    issuer: str
    subject: str
    email: str = ""
    name: str = ""
    groups: frozenset[str] = frozenset()


def enter(engine: Engine, claimed: Claimed, roles: Mapping[str, str]) -> Person:
    """Return the person with this identity, made at the first sign-in and brought up to date at each later one.

    `roles` has the role that each group gives. A new role ends the person's sessions. Raises AccountDisabled,
    IssuerChanged and Unavailable, and then has changed nothing.
    """
    with transaction(engine) as connection:
        found = _person_with(connection, claimed)
        is_new = found is None
        if found is None:
            accounts.lock(connection)
            found = _person_with(connection, claimed) or _make(connection, claimed)
        if found.is_disabled:
            raise AccountDisabled
        known = {"email": claimed.email or None, "name": claimed.name or None}
        connection.execute(update(person).where(_P.id == found.id).values(known))
        groups.set_from_claim(connection, found.id, [name for name in claimed.groups if groups.is_name(name)])
        # Last: the record of events may wait for no lock (shared/audit/record.py).
        if is_new:
            audit.record(connection, Kind.ACCOUNT_MADE, subject=found.owner.key, role=found.role.value)
        _give_role(connection, found, role_of(found.role, claimed.groups, roles))
        return accounts.person_in(connection, found.id)


def role_of(present: Role, groups: frozenset[str], roles: Mapping[str, str]) -> Role:
    """Return the strongest role that the groups give.

    A role that no group can give is neither given nor taken away here: an administrator gave it.
    """
    found = {Role.USER, *(Role(roles[name]) for name in groups if name in roles)}
    if present not in set(roles.values()):
        found.add(present)
    return max(found, key=_ROLES.index)


def shares_address(engine: Engine, person_id: UUID, email: str) -> bool:
    """Whether another account has this e-mail address too."""
    others = select(_P.id).where(_P.email == email, _P.id != person_id).exists()
    with transaction(engine) as connection:
        return bool(email) and bool(connection.execute(select(others)).scalar_one())


def issuers(engine: Engine) -> dict[str, int]:
    """Return the issuers of all identities, with their number."""
    counted = select(_I.issuer, func.count()).group_by(_I.issuer)
    with transaction(engine) as connection:
        return {issuer: int(number) for issuer, number in connection.execute(counted).all()}


def move(engine: Engine, *, old: str, new: str) -> tuple[int, int]:
    """Give the identities of one issuer to another, because the provider's address has changed.

    Returns how many moved, and how many stayed because the new issuer has signed in the same subject already.
    """
    taken = select(_I.subject).where(_I.issuer == new)
    with transaction(engine) as connection:
        accounts.lock(connection)
        moved = update(identity).where(_I.issuer == old, _I.subject.not_in(taken)).values(issuer=new)
        number = int(connection.execute(moved).rowcount)
        left = connection.execute(select(func.count()).where(_I.issuer == old)).scalar_one()
        audit.record(connection, Kind.ISSUER_CHANGED, issuer=new, accounts=number)
    return number, int(left)


def end_sessions(engine: Engine, *, issuer: str, subject: str, sid: str, token_id: str) -> int:
    """End the sessions that a provider has ended: those of its session `sid`, or all of `subject`; one may be "".

    Returns their number. Raises SignInInvalid for a token that was used before, and Unavailable.
    """
    theirs = select(_I.person_id).where(_I.issuer == issuer, *((_I.subject == subject,) if subject else ()))
    which = (_S.person_id.in_(theirs), *((_S.provider_sid == sid,) if sid else ()))
    used = f"logout:{hash_of(f'{issuer} {token_id}').hex()}"
    with transaction(engine) as connection:
        try:
            allowances.take_in(connection, {used: 1})
        except TooManySignIns:
            raise SignInInvalid("The logout token was used before.") from None
        ended = connection.execute(delete(session).where(*which).returning(_S.person_id)).scalars().all()
        for person_id in sorted(set(ended)):
            subject = Owner.person(person_id).key
            audit.record(connection, Kind.SESSIONS_ENDED, subject=subject, sessions=ended.count(person_id))
        return len(ended)


def _person_with(connection: Connection, claimed: Claimed) -> Person | None:
    found = select(_I.person_id).where(_I.issuer == claimed.issuer, _I.subject == claimed.subject)
    person_id: UUID | None = connection.execute(found).scalar_one_or_none()
    return None if person_id is None else accounts.person_in(connection, person_id)


def _make(connection: Connection, claimed: Claimed) -> Person:
    """Make an account, under the lock. Raises IssuerChanged for a subject that another issuer has signed in."""
    elsewhere = select(_I.issuer).where(_I.subject == claimed.subject, _I.issuer != claimed.issuer)
    if (other := connection.execute(elsewhere.limit(1)).scalar_one_or_none()) is not None:
        log.warning("issuer changed", extra={"issuer": claimed.issuer, "known_issuer": other})
        raise IssuerChanged
    person_id = uuid4()
    connection.execute(insert(person).values(id=person_id, role=Role.USER))
    connection.execute(insert(identity).values(issuer=claimed.issuer, subject=claimed.subject, person_id=person_id))
    log.info("account made", extra={"owner": f"person:{person_id}", "issuer": claimed.issuer})
    return accounts.person_in(connection, person_id)


def _give_role(connection: Connection, found: Person, role: Role) -> None:
    if role is found.role:
        return
    try:
        accounts.set_role_in(connection, found.id, role)
    except LastAdmin:
        log.warning("the only administrator keeps the role", extra={"owner": found.owner.key})
    else:
        log.info("role changed", extra={"owner": found.owner.key, "role": role.value})
