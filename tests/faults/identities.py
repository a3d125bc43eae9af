"""The browsers of the simulated users: guests, or people with an account (`--auth local`)."""

from __future__ import annotations

from itertools import cycle
from uuid import uuid4

from sqlalchemy import Engine

from shared.settings import GUEST
from tests.signed_in import new_person
from web.asgi.cookies import Cookies

#: With accounts, the pages belong to so many people in turn.
PEOPLE = 200
#: NARU_AUTH of all rigs of this run.
_auth = GUEST


def use_auth(auth: str) -> None:
    """Let all rigs of this run ask for a sign-in, or not."""
    global _auth  # noqa: PLW0603 - set once, by the command
    _auth = auth


def auth() -> str:
    """Return NARU_AUTH of this run."""
    return _auth


class Identities:
    """Gives each new browser its cookie. The people are made at once: later, Postgres may be away."""

    def __init__(self, engine: Engine, secret_key: str) -> None:
        self._cookies = Cookies(secret_key)
        made = [] if _auth == GUEST else [new_person(engine, secret_key)[1] for _ in range(PEOPLE)]
        self._people = cycle(made or [""])

    def new_cookie(self) -> str:
        """Return the cookie header of a new guest, or of the next person."""
        return next(self._people) or "=".join(self._cookies.make(uuid4()))
