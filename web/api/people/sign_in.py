"""GET, POST /sign-in and POST /sign-out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from shared import mail
from shared.errors import AccountRefused, BadEmail, NaruError, WrongPassword
from shared.people import accounts
from shared.people.accounts import Person
from shared.settings import OPEN
from shared.words import Words
from web.api.people import admission, attempts, pages, signing
from web.api.people.forms import address_of, form_of, go_to, path_to, with_accounts, with_passwords, words_of
from web.api.people.places import back_in
from web.asgi.identity import owner_in, signed_in_in
from web.runtime import current_runtime

#: Longest wait for the provider before somebody is signed out here.
_WAY_OUT_SECONDS = 2.0


@with_accounts
async def sign_in_page(request: Request) -> Response:
    """Show the form; somebody who is signed in goes on."""
    back = back_in(request.query_params)
    if owner_in(request.scope) is not None:
        return go_to(request, "/", back=back)
    return show(request, back=back)


@with_passwords
async def sign_in(request: Request) -> Response:
    """Check the password; a session follows, or the second step."""
    values = await form_of(request)
    back = back_in(values)
    try:
        return await admission.admit(request, await _checked(request, values), back=back)
    except NaruError as error:
        await attempts.report(request, error, email=values.get("email", ""))
        return show(request, back=back, email=values.get("email", ""), error=error)


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


async def _checked(request: Request, values: Mapping[str, str]) -> Person:
    try:
        email = accounts.normal_email(values.get("email", ""))
    except BadEmail:
        raise WrongPassword from None
    return await attempts.check_password(request, email, values.get("password", ""))


def show(request: Request, *, back: str, email: str = "", error: NaruError | None = None) -> Response:
    """Return the page with every way to sign in that is switched on."""
    words, settings = words_of(request), current_runtime().settings
    body = pages.error(pages.said(words, error))
    if settings.has_openid:
        address = path_to(request, "/openid/begin", back=back)
        body += pages.link(address, settings.oidc_button or words.t("account.company"), is_quiet=False)
    if settings.has_passwords:
        body += _password_form(request, words, back=back, email=email)
    return pages.page(words, words.t("account.sign_in"), body, request=request, status=pages.status_of(error))


def _password_form(request: Request, words: Words, *, back: str, email: str) -> str:
    entries = (
        pages.Entry(name="email", label=words.t("account.email"), kind="email", autocomplete="username", value=email),
        pages.Entry(
            name="password",
            label=words.t("account.password"),
            kind="password",
            autocomplete="current-password",
        ),
    )
    body = pages.form(path_to(request, "/sign-in"), words.t("account.sign_in"), entries, hidden={"c": back})
    if mail.is_on(current_runtime().settings):
        body += pages.link(path_to(request, "/forgotten"), words.t("account.forgot"))
    else:
        body += pages.paragraph(words.t("account.forgotten"))
    if current_runtime().settings.sign_up == OPEN:
        body += pages.link(path_to(request, "/sign-up"), words.t("account.sign_up_here"))
    return body
