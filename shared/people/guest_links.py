"""A guest's link to their chats: another browser that opens it becomes the same guest. It works until it is revoked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from shared import audit
from shared.audit import Kind
from shared.errors import BadLink
from shared.people.owner import Owner
from shared.people.tokens import hash_of, new_token
from shared.postgres.database import transaction
from shared.tables import guest_link

_G = guest_link.c
_IS_VALID = _G.expires_at > func.statement_timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestLink:
    """A link that works. Its token is not kept, so it cannot be shown again."""

    created_at: datetime
    expires_at: datetime


def make(engine: Engine, browser_id: UUID, *, days: int) -> str:
    """Return the token of a new link to this guest's chats. An earlier one stops working."""
    token, now = new_token(), func.clock_timestamp()
    values = {"token_hash": hash_of(token), "expires_at": now + timedelta(days=days), "created_at": now}
    made = insert(guest_link).values(browser_id=browser_id, **values)
    with transaction(engine) as connection:
        connection.execute(made.on_conflict_do_update(index_elements=[_G.browser_id], set_=values))
        audit.record(connection, Kind.GUEST_LINK_MADE, subject=Owner.browser(browser_id).key)
    return token


def link_of(engine: Engine, browser_id: UUID) -> GuestLink | None:
    """Return the guest's link, if there is one."""
    found = select(_G.created_at, _G.expires_at).where(_G.browser_id == browser_id, _IS_VALID)
    with transaction(engine) as connection:
        row = connection.execute(found).one_or_none()
    return None if row is None else GuestLink(created_at=row.created_at, expires_at=row.expires_at)


def revoke(engine: Engine, browser_id: UUID) -> None:
    """Make the guest's link invalid."""
    with transaction(engine) as connection:
        connection.execute(delete(guest_link).where(_G.browser_id == browser_id))
        audit.record(connection, Kind.GUEST_LINK_REVOKED, subject=Owner.browser(browser_id).key)


def browser_behind(engine: Engine, token: str) -> UUID:
    """Return the guest whose chats this link leads to. Raises BadLink."""
    found = select(_G.browser_id).where(_G.token_hash == hash_of(token), _IS_VALID)
    with transaction(engine) as connection:
        browser_id: UUID | None = connection.execute(found).scalar_one_or_none()
    if browser_id is None:
        raise BadLink
    return browser_id


def note_opened(engine: Engine, browser_id: UUID) -> None:
    """Record that another browser has opened the guest's link. Raises Unavailable."""
    with transaction(engine) as connection:
        audit.record(connection, Kind.GUEST_LINK_OPENED, subject=Owner.browser(browser_id).key)
