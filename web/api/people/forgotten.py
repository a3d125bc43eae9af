"""GET, POST /forgotten: send a link to a new password to the account's e-mail address.

The answer is the same, after the same time, whether there is an account or not: the account is looked up beside the
request, where the mail is made. Without mail, the sign-in page refers to an administrator instead.
"""

from __future__ import annotations

from email.message import EmailMessage

from starlette.requests import Request
from starlette.responses import Response

from shared import mail
from shared.errors import NaruError
from shared.people import accounts, links
from shared.words import Words
from web.api.people import attempts, pages
from web.api.people.forms import form_of, go_to, path_to, with_accounts, words_of
from web.runtime import current_runtime


@with_accounts
async def forgotten_page(request: Request) -> Response:
    """Show the form."""
    return _page(request) if mail.is_on(current_runtime().settings) else go_to(request, "/sign-in")


@with_accounts
async def forgotten(request: Request) -> Response:
    """Put the mail into the queue."""
    values = await form_of(request)
    if not mail.is_on(current_runtime().settings):
        return go_to(request, "/sign-in")
    words, given = words_of(request), values.get("email", "")
    try:
        email = accounts.normal_email(given)
        await attempts.take_mail(request, email)
        current_runtime().mailing.put("password", lambda: _mail(words, email))
    except NaruError as error:
        return _page(request, email=given, error=error)
    hours = current_runtime().settings.password_link_hours
    body = pages.done(words.t("account.forgot_sent", hours=hours))
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in"), is_quiet=False)
    return pages.page(words, words.t("account.forgot"), body, request=request)


def _mail(words: Words, email: str) -> EmailMessage | None:
    """Return the mail with a new link; None for an address without an open account."""
    runtime = current_runtime()
    person = accounts.find(runtime.engine, email)
    if person is None or person.is_disabled:
        return None
    token = links.allow_new_password(runtime.engine, person.id, hours=runtime.settings.password_link_hours)
    return mail.new_password(runtime.settings, words, person.email, token)


def _page(request: Request, *, email: str = "", error: NaruError | None = None) -> Response:
    words = words_of(request)
    entry = pages.Entry(
        name="email", label=words.t("account.email"), kind="email", autocomplete="username", value=email
    )
    body = pages.paragraph(words.t("account.forgot_text")) + pages.error(pages.said(words, error))
    body += pages.form(path_to(request, "/forgotten"), words.t("account.forgot_send"), [entry])
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in_instead"))
    return pages.page(words, words.t("account.forgot"), body, request=request, status=pages.status_of(error))
