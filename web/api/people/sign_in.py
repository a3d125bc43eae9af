"""GET, POST /sign-in and POST /sign-out."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from shared import mail
from shared.errors import BadEmail, NaruError, WrongPassword
from shared.people import accounts
from shared.people.accounts import Person
from shared.settings import OPEN
from web.api.people import admission, attempts, pages, signing
from web.api.people.forms import chat_in, form_of, go_to, path_to, with_accounts, words_of
from web.asgi.identity import owner_in
from web.runtime import current_runtime


@with_accounts
async def sign_in_page(request: Request) -> Response:
    """Show the form; somebody who is signed in goes on to the chat."""
    chat = chat_in(request.query_params)
    if owner_in(request.scope) is not None:
        return go_to(request, "/", chat=chat)
    return _page(request, chat=chat)


@with_accounts
async def sign_in(request: Request) -> Response:
    """Check the password; a session follows, or the second step."""
    values = await form_of(request)
    chat = chat_in(values)
    try:
        return await admission.admit(request, await _checked(request, values), chat=chat)
    except NaruError as error:
        attempts.report(request, error)
        return _page(request, chat=chat, email=values.get("email", ""), error=error)


@with_accounts
async def sign_out(request: Request) -> Response:
    """End this browser's session."""
    await form_of(request)
    answer = go_to(request, "/sign-in")
    await signing.end(request, answer)
    return answer


async def _checked(request: Request, values: Mapping[str, str]) -> Person:
    try:
        email = accounts.normal_email(values.get("email", ""))
    except BadEmail:
        raise WrongPassword from None
    return await attempts.check_password(request, email, values.get("password", ""))


def _page(request: Request, *, chat: str, email: str = "", error: NaruError | None = None) -> Response:
    words = words_of(request)
    entries = (
        pages.Entry(name="email", label=words.t("account.email"), kind="email", autocomplete="username", value=email),
        pages.Entry(
            name="password",
            label=words.t("account.password"),
            kind="password",
            autocomplete="current-password",
        ),
    )
    body = pages.error(pages.said(words, error)) + pages.form(
        path_to(request, "/sign-in"), words.t("account.sign_in"), entries, hidden={"c": chat}
    )
    if mail.is_on(current_runtime().settings):
        body += pages.link(path_to(request, "/forgotten"), words.t("account.forgot"))
    else:
        body += pages.paragraph(words.t("account.forgotten"))
    if current_runtime().settings.sign_up == OPEN:
        body += pages.link(path_to(request, "/sign-up"), words.t("account.sign_up_here"))
    return pages.page(words, words.t("account.sign_in"), body, request=request, status=pages.status_of(error))
