"""People with an account and an open session, made without forms: the fault suite and the bench need hundreds."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Engine, insert

from shared.people import Owner, accounts, sessions
from shared.postgres.database import transaction
from shared.settings import GUEST, Settings
from shared.tables import person
from web.asgi.cookies import Cookies, SessionCookie

#: The ways to run a rig: `guest`, or with accounts.
WAYS = (GUEST, "local")


def new_person(engine: Engine, secret_key: str) -> tuple[Owner, str]:
    """Make an account and a session; return its owner and the cookie header of its browser."""
    person_id = uuid4()
    values = {"id": person_id, "email": f"{person_id}@example.org", "password_hash": "x", "role": "user"}
    with transaction(engine) as connection:
        connection.execute(insert(person).values(values))
        made = accounts.person_in(connection, person_id)
    token = sessions.begin(engine, made, device="", address="")
    return made.owner, "=".join(SessionCookie(secret_key).make(token, is_tls=False))


def new_owner(engine: Engine, settings: Settings) -> tuple[Owner, str]:
    """Return a new guest, or with accounts a new person, and the cookie header of the browser."""
    if settings.auth != GUEST:
        return new_person(engine, settings.secret_key)
    browser_id = uuid4()
    return Owner.browser(browser_id), "=".join(Cookies(settings.secret_key).make(browser_id))
