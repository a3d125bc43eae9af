"""Begin a session after the right password, or ask for the second factor first.

In between, a person is half signed in. A signed cookie says so for five minutes. It is bound to the browser and to the
password: with another browser's cookie, or once the password is changed, it is worth nothing.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from uuid import UUID

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import AccountRefused
from shared.keys import key_id, keys_in
from shared.people import Owner, accounts, factors, taking_over
from shared.people.accounts import Person
from shared.people.sessions import PASSWORD, PASSWORD_AND_CODE, needs_factor
from web.api.people import signing
from web.api.people.forms import go_to
from web.asgi.cookies import set_cookie
from web.asgi.identity import browser_in, is_secure
from web.runtime import current_runtime

HALF_SECONDS = 300


class HalfSignedInOver(AccountRefused):
    """Nobody is half signed in here, or no longer."""

    code = "half_signed_in_over"


async def admit(request: Request, person: Person, *, back: str = "") -> Response:
    """Begin a session after the right password, or send the browser to the second factor.

    Raises WrongPassword if the password has changed meanwhile, and Unavailable.
    """
    runtime = current_runtime()
    if await asyncio.to_thread(factors.is_on, runtime.engine, person.id):
        answer = go_to(request, "/sign-in/code", back=back)
    elif needs_factor(runtime.settings, person.role):
        answer = go_to(request, "/sign-in/enrol", back=back)
    else:
        answer = go_to(request, await where_next(request), back=back)
        await signing.begin(request, person, answer, factors=PASSWORD)
        return answer
    is_tls = is_secure(request.scope, runtime.settings)
    (name, signer), *_ = _signers()
    value = signer.sign(_bound_to(person, browser_in(request.scope))).decode()
    answer.headers.append("set-cookie", set_cookie(_name(name, is_tls=is_tls), value, seconds=HALF_SECONDS))
    return answer


async def half_signed_in(request: Request) -> Person:
    """Return the person whose password this browser has given. Raises HalfSignedInOver and Unavailable."""
    runtime = current_runtime()
    value = _value_in(request)
    try:
        person_id = UUID(value.partition(".")[0])
    except ValueError:
        raise HalfSignedInOver from None
    person = await asyncio.to_thread(accounts.with_id, runtime.engine, person_id)
    if person is None or person.is_disabled or value != _bound_to(person, browser_in(request.scope)):
        raise HalfSignedInOver
    return person


async def finish(request: Request, person: Person, answer: Response) -> None:
    """Begin the session after the second factor. Raises WrongPassword and Unavailable."""
    await signing.begin(request, person, answer, factors=PASSWORD_AND_CODE)
    is_tls = is_secure(request.scope, current_runtime().settings)
    for name, _ in _signers():
        answer.headers.append("set-cookie", set_cookie(_name(name, is_tls=is_tls), "", seconds=0))


async def where_next(request: Request) -> str:
    """Return where a session begins: at the chats of the time before the sign-in, if this browser has any."""
    browser_id = browser_in(request.scope)
    if browser_id is None:
        return "/"
    engine, guest = current_runtime().engine, Owner.browser(browser_id)
    has_any = await asyncio.to_thread(taking_over.conversations_of, engine, guest)
    return "/guest-chats" if has_any else "/"


def _bound_to(person: Person, browser_id: UUID | None) -> str:
    password = sha256(b"naru.half:" + (person.password_hash or "").encode()).hexdigest()
    return f"{person.id}.{browser_id}.{password}"


def _signers() -> list[tuple[str, TimestampSigner]]:
    return [(f"naru_half_{key_id(key)}", half_signer(key)) for key in keys_in(current_runtime().settings.secret_key)]


def half_signer(key: str) -> TimestampSigner:
    """Return what signs the cookie with this key."""
    return TimestampSigner(key, salt="naru.half", digest_method=sha256)


def _name(name: str, *, is_tls: bool) -> str:
    return f"__Host-{name}" if is_tls else name


def _value_in(request: Request) -> str:
    """Return the value of the cookie, or ""."""
    is_tls = is_secure(request.scope, current_runtime().settings)
    for name, signer in _signers():
        given = request.cookies.get(_name(name, is_tls=is_tls), "")
        try:
            return signer.unsign(given, max_age=HALF_SECONDS).decode()
        except (BadSignature, UnicodeDecodeError):
            continue
    return ""
