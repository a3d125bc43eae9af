"""Check passwords and codes within the allowances: how often somebody may guess.

A browser that has signed in to an account before has attempts of its own (`devices`). Passwords, codes and mails count
apart, so that none uses up the attempts of another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from hashlib import sha256
from uuid import UUID

from sqlalchemy import Engine
from starlette.requests import Request

from shared import metrics
from shared.audit import Kind
from shared.errors import AccountRefused, BadEmail, Unavailable, WrongPassword
from shared.people import accounts, allowances, codes
from shared.people.accounts import Person
from shared.people.sealing import Sealing
from web.api.people import passwords
from web.api.people.devices import KnownDevices
from web.asgi.address import client_of
from web.asgi.identity import browser_in
from web.runtime import current_runtime

log = logging.getLogger(__name__)

#: An address has this many times the attempts of an account: a whole office may share one.
ACCOUNTS_OF_AN_ADDRESS = 3
#: Mails to one address in 15 minutes.
MAILS_OF_AN_ACCOUNT = 3
_CODE, _MAIL, _LINK = "code-", "mail-", "link-"


async def check_password(request: Request, email: str, given: str) -> Person:
    """Return the person with this normal e-mail address if the password is right, within the allowances.

    Raises WrongPassword, TooManySignIns and Unavailable. An unknown or disabled account takes as long as a wrong
    password.
    """
    runtime = current_runtime()
    found = await asyncio.to_thread(accounts.find, runtime.engine, email)
    person = None if found is None or found.is_disabled else found
    keys = _allowances(request, email, person)
    await asyncio.to_thread(allowances.take, runtime.engine, keys)
    is_right = await passwords.is_right(given, None if person is None else person.password_hash)
    if person is None or not is_right:
        raise WrongPassword
    await asyncio.to_thread(allowances.give_back, runtime.engine, keys)
    return person


async def check_code(request: Request, person: Person, given: str) -> None:
    """Use a code of the second factor, within the allowances. Raises WrongCode, TooManySignIns and Unavailable."""
    runtime = current_runtime()
    keys = await take_code(request, person)
    await asyncio.to_thread(codes.use_code, runtime.engine, person.id, given, sealing())
    await asyncio.to_thread(allowances.give_back, runtime.engine, keys)


async def take_code(request: Request, person: Person) -> dict[str, int]:
    """Take an attempt at a code; return what to give back if it is right. Raises TooManySignIns and Unavailable."""
    keys = _allowances(request, person.email, person, _CODE)
    await asyncio.to_thread(allowances.take, current_runtime().engine, keys)
    return keys


async def take_mail(request: Request, email: str) -> None:
    """Count a mail against its address and that of the request. Raises TooManySignIns and Unavailable."""
    runtime = current_runtime()
    keys = {
        _MAIL + account_key(email): MAILS_OF_AN_ACCOUNT,
        _MAIL + address_key(request): ACCOUNTS_OF_AN_ADDRESS * runtime.settings.sign_in_failures,
    }
    await asyncio.to_thread(allowances.take, runtime.engine, keys)


async def open_link(request: Request, find: Callable[[Engine], UUID]) -> UUID:
    """Return what `find` finds behind a link, within the attempts of the address.

    Raises BadLink, TooManySignIns and Unavailable.
    """
    engine, most = current_runtime().engine, current_runtime().settings.sign_in_failures
    keys = {_LINK + address_key(request): ACCOUNTS_OF_AN_ADDRESS * most}
    await asyncio.to_thread(allowances.take, engine, keys)
    found = await asyncio.to_thread(find, engine)
    await asyncio.to_thread(allowances.give_back, engine, keys)
    return found


def sealing() -> Sealing:
    """Return the keys of the secrets."""
    return Sealing(current_runtime().settings.secret_key)


async def report(request: Request, error: Exception, *, email: str = "", subject: str = "") -> None:
    """Count, log and record a refused sign-in; other errors are reported where they arise.

    `email` is what the person typed, or `subject` the key of the person.
    """
    if isinstance(error, AccountRefused):
        metrics.SIGN_INS.labels(error.code).inc()
        log.warning("sign-in refused", extra={"reason": error.code, "client": client_of(request.scope)})
        await asyncio.to_thread(_record_refusal, email, subject, error.code)


def _record_refusal(email: str, subject: str, reason: str) -> None:
    """Record a refused sign-in, with the person where there is such an account."""
    runtime = current_runtime()
    if email:
        try:
            person = accounts.find(runtime.engine, accounts.normal_email(email))
        except (BadEmail, Unavailable):
            person = None
        subject = "" if person is None else person.owner.key
    runtime.audit.repeats.record_if_possible(Kind.SIGN_IN_REFUSED, subject=subject, reason=reason)


def account_key(email: str) -> str:
    """Return the key of the allowance for an account, from browsers that have never signed in to it."""
    return f"account:{_digest(email)}"


def address_key(request: Request) -> str:
    """Return the key of the allowance for the address of this request."""
    return f"address:{client_of(request.scope)}"


def _allowances(request: Request, email: str, person: Person | None, what: str = "") -> dict[str, int]:
    """Return the allowances that an attempt counts against: the device's if it is known, else account and address."""
    settings = current_runtime().settings
    browser_id = browser_in(request.scope)
    most = settings.sign_in_failures
    known = KnownDevices(settings.secret_key)
    if person is not None and known.has_signed_in(request, person.owner, browser_id):
        return {f"{what}device:{_digest(email)}:{browser_id}": most}
    return {what + account_key(email): most, what + address_key(request): ACCOUNTS_OF_AN_ADDRESS * most}


def _digest(email: str) -> str:
    return sha256(email.encode()).hexdigest()
