"""GET, POST /sign-in and POST /sign-out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from shared import metrics
from shared.audit import Kind
from shared.errors import AccountRefused, BadEmail, NaruError, Unavailable, WrongPassword
from shared.people import Owner, accounts, allowances, taking_over
from shared.people.accounts import Person
from shared.settings import OPEN
from shared.words import Words
from web.api.people import pages, passwords, signing
from web.api.people.devices import KnownDevices
from web.api.people.forms import address_of, chat_in, form_of, go_to, path_to, with_accounts, with_passwords, words_of
from web.asgi.address import client_of
from web.asgi.identity import browser_in, owner_in, signed_in_in
from web.runtime import current_runtime

log = logging.getLogger(__name__)

#: An address has this many times the attempts of an account: a whole office may share one.
ACCOUNTS_OF_AN_ADDRESS = 3
#: Longest wait for the provider before somebody is signed out here.
_WAY_OUT_SECONDS = 2.0


@with_accounts
async def sign_in_page(request: Request) -> Response:
    """Show the form; somebody who is signed in goes on to the chat."""
    chat = chat_in(request.query_params)
    if owner_in(request.scope) is not None:
        return go_to(request, "/", chat=chat)
    return show(request, chat=chat)


@with_passwords
async def sign_in(request: Request) -> Response:
    """Check the password and begin a session."""
    values = await form_of(request)
    chat = chat_in(values)
    try:
        person = await _checked(request, values)
        answer = go_to(request, await where_next(request), chat=chat)
        await signing.begin(request, person, answer)
    except NaruError as error:
        if isinstance(error, AccountRefused):
            count_refusal(request, error)
            await asyncio.to_thread(_record_refusal, values.get("email", ""), error.code)
        return show(request, chat=chat, email=values.get("email", ""), error=error)
    return answer


@with_accounts
async def sign_out(request: Request) -> Response:
    """End this browser's session, and offer to end the one at the company's provider too."""
    await form_of(request)
    signed_in = signed_in_in(request.scope)
    there = "" if signed_in is None or signed_in.has_password else await _way_out_there(request)
    answer = _signed_out(request, there) if there else go_to(request, "/sign-in")
    await signing.end(request, answer)
    return answer


async def _way_out_there(request: Request) -> str:
    """Return the address where a person signs out of the provider; "" if it has none, or does not answer soon."""
    provider = current_runtime().openid
    if provider is None:
        return ""
    try:
        async with asyncio.timeout(_WAY_OUT_SECONDS):
            return await provider.end_session_address(address_of(request, "/sign-in"))
    except (AccountRefused, TimeoutError):
        return ""


def _signed_out(request: Request, there: str) -> Response:
    words = words_of(request)
    body = pages.paragraph(words.t("account.signed_out_text"))
    body += pages.link(there, words.t("account.sign_out_company"), is_quiet=False)
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in"))
    return pages.page(words, words.t("account.signed_out"), body, request=request)


def count_refusal(request: Request, error: AccountRefused) -> None:
    """Count a sign-in that was refused, and log the reason."""
    metrics.SIGN_INS.labels(error.code).inc()
    log.warning("sign-in refused", extra={"reason": error.code, "client": client_of(request.scope)})


async def where_next(request: Request) -> str:
    """Return where a session begins: at the chats of the time before the sign-in, if this browser has any."""
    browser_id = browser_in(request.scope)
    if browser_id is None:
        return "/"
    engine, guest = current_runtime().engine, Owner.browser(browser_id)
    has_any = await asyncio.to_thread(taking_over.conversations_of, engine, guest)
    return "/guest-chats" if has_any else "/"


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


def account_key(email: str) -> str:
    """Return the key of the allowance for an account, from browsers that have never signed in to it."""
    return f"account:{_digest(email)}"


def address_key(request: Request) -> str:
    """Return the key of the allowance for the address of this request."""
    return f"address:{client_of(request.scope)}"


def _allowances(request: Request, email: str, person: Person | None) -> dict[str, int]:
    """Return the allowances that an attempt counts against: the device's if it is known, else account and address."""
    settings = current_runtime().settings
    browser_id = browser_in(request.scope)
    most = settings.sign_in_failures
    known = KnownDevices(settings.secret_key)
    if person is not None and known.has_signed_in(request, person.owner, browser_id):
        return {f"device:{_digest(email)}:{browser_id}": most}
    return {account_key(email): most, address_key(request): ACCOUNTS_OF_AN_ADDRESS * most}


def _digest(email: str) -> str:
    return sha256(email.encode()).hexdigest()


def _record_refusal(email: str, reason: str) -> None:
    """Record a refused sign-in, with the person where there is such an account."""
    runtime = current_runtime()
    try:
        person = accounts.find(runtime.engine, accounts.normal_email(email))
    except (BadEmail, Unavailable):
        person = None
    subject = "" if person is None else person.owner.key
    runtime.audit.repeats.record_if_possible(Kind.SIGN_IN_REFUSED, subject=subject, reason=reason)


async def _checked(request: Request, values: Mapping[str, str]) -> Person:
    try:
        email = accounts.normal_email(values.get("email", ""))
    except BadEmail:
        raise WrongPassword from None
    return await check_password(request, email, values.get("password", ""))


def show(request: Request, *, chat: str, email: str = "", error: NaruError | None = None) -> Response:
    """Return the page with every way to sign in that is switched on."""
    words, settings = words_of(request), current_runtime().settings
    body = pages.error(pages.said(words, error))
    if settings.has_openid:
        address = path_to(request, "/openid/begin", chat=chat)
        body += pages.link(address, settings.oidc_button or words.t("account.company"), is_quiet=False)
    if settings.has_passwords:
        body += _password_form(request, words, chat=chat, email=email)
    return pages.page(words, words.t("account.sign_in"), body, request=request, status=pages.status_of(error))


def _password_form(request: Request, words: Words, *, chat: str, email: str) -> str:
    entries = (
        pages.Entry(name="email", label=words.t("account.email"), kind="email", autocomplete="username", value=email),
        pages.Entry(
            name="password",
            label=words.t("account.password"),
            kind="password",
            autocomplete="current-password",
        ),
    )
    body = pages.form(path_to(request, "/sign-in"), words.t("account.sign_in"), entries, hidden={"c": chat})
    body += pages.paragraph(words.t("account.forgotten"))
    if current_runtime().settings.sign_up == OPEN:
        body += pages.link(path_to(request, "/sign-up"), words.t("account.sign_up_here"))
    return body
