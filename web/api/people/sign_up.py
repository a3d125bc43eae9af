"""GET, POST /sign-up: make an account, with an invitation or where anybody may.

Where anybody may and Naru sends mail, people get their invitation by mail: it proves that the address is theirs, and
the page tells nobody who has an account.
"""

from __future__ import annotations

import asyncio
import logging
from email.message import EmailMessage

from starlette.requests import Request
from starlette.responses import Response

from shared import mail
from shared.errors import BadLink, InvitationNeeded, NaruError
from shared.people import accounts, allowances, links
from shared.people.accounts import Role
from shared.settings import OPEN
from shared.words import Words
from web.api.people import admission, attempts, pages, passwords
from web.api.people.attempts import ACCOUNTS_OF_AN_ADDRESS, address_key
from web.api.people.forms import form_of, path_to, with_passwords, words_of
from web.runtime import current_runtime

log = logging.getLogger(__name__)


@with_passwords
async def sign_up_page(request: Request) -> Response:
    """Show the form, or say why it cannot be used."""
    invitation = request.query_params.get("invitation", "")
    try:
        await _check_invitation(invitation)
    except NaruError as error:
        return _refusal(request, error)
    if not invitation and mail.is_on(current_runtime().settings):
        return _mail_page(request)
    invited = await asyncio.to_thread(links.invited_email, current_runtime().engine, invitation)
    return _page(request, invitation=invitation, email=invited or "", is_invited=bool(invited))


@with_passwords
async def sign_up(request: Request) -> Response:
    """Make the account and begin its first session."""
    values = await form_of(request)
    email, password, invitation = (values.get(name, "") for name in ("email", "password", "invitation"))
    runtime = current_runtime()
    invited = None
    try:
        await _check_invitation(invitation)  # before a password is hashed for anybody
        if not invitation and mail.is_on(runtime.settings):
            return await _send_invitation(request, email)
        if invitation:
            invited = await asyncio.to_thread(links.invited_email, runtime.engine, invitation)
            email = invited or email
        if not invitation:
            most = ACCOUNTS_OF_AN_ADDRESS * runtime.settings.sign_in_failures
            await asyncio.to_thread(allowances.take, runtime.engine, {address_key(request): most})
        await passwords.refuse_weak(password, accounts.normal_email(email))
        person = await asyncio.to_thread(
            accounts.sign_up,
            runtime.engine,
            email=email,
            password_hash=await passwords.hash_password(password),
            invitation=invitation,
            is_open=runtime.settings.sign_up == OPEN and not mail.is_on(runtime.settings),
        )
    except (BadLink, InvitationNeeded) as error:
        return _refusal(request, error)
    except NaruError as error:
        return _page(request, invitation=invitation, email=email, is_invited=bool(invited), error=error)
    log.info("account made", extra={"owner": person.owner.key, "role": person.role.value})
    return await admission.admit(request, person)


async def _send_invitation(request: Request, given: str) -> Response:
    """Mail an invitation to this address. The answer is the same for one that has an account."""
    words, runtime = words_of(request), current_runtime()
    try:
        email = accounts.normal_email(given)
        await attempts.take_mail(request, email)
        runtime.mailing.put("sign_up", lambda: _mail(words, email))
    except NaruError as error:
        return _mail_page(request, email=given, error=error)
    body = pages.done(words.t("account.sign_up_sent", days=runtime.settings.invitation_days))
    return pages.page(words, words.t("account.sign_up"), body, request=request)


def _mail(words: Words, email: str) -> EmailMessage:
    runtime = current_runtime()
    settings = runtime.settings
    if accounts.find(runtime.engine, email) is not None:
        return mail.has_account(settings, words, email)
    token = links.invite(runtime.engine, Role.USER, days=settings.invitation_days, email=email, made_by="sign-up")
    return mail.invitation(settings, words, email, token)


def _mail_page(request: Request, *, email: str = "", error: NaruError | None = None) -> Response:
    words = words_of(request)
    entry = pages.Entry(
        name="email", label=words.t("account.email"), kind="email", autocomplete="username", value=email
    )
    body = pages.paragraph(words.t("account.sign_up_text")) + pages.error(pages.said(words, error))
    body += pages.form(path_to(request, "/sign-up"), words.t("account.forgot_send"), [entry])
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in_instead"))
    return pages.page(words, words.t("account.sign_up"), body, request=request, status=pages.status_of(error))


async def _check_invitation(invitation: str) -> None:
    """Raise BadLink for an invitation that cannot be used, and InvitationNeeded without a needed one."""
    runtime = current_runtime()
    if invitation:
        if not await asyncio.to_thread(links.is_valid, runtime.engine, invitation, "invitation"):
            raise BadLink
        return
    if runtime.settings.sign_up != OPEN or not await asyncio.to_thread(accounts.has_people, runtime.engine):
        raise InvitationNeeded


def _page(
    request: Request, *, invitation: str, email: str = "", is_invited: bool = False, error: NaruError | None = None
) -> Response:
    words = words_of(request)
    entries = (
        pages.Entry(
            name="email",
            label=words.t("account.email"),
            kind="email",
            autocomplete="username",
            value=email,
            is_fixed=is_invited,
        ),
        pages.new_password(words),
    )
    body = pages.error(pages.said(words, error)) + pages.form(
        path_to(request, "/sign-up"), words.t("account.sign_up"), entries, hidden={"invitation": invitation}
    )
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in_instead"))
    return pages.page(words, words.t("account.sign_up"), body, request=request, status=pages.status_of(error))


def _refusal(request: Request, error: NaruError) -> Response:
    words = words_of(request)
    body = pages.error(pages.said(words, error))
    body += pages.link(path_to(request, "/sign-in"), words.t("account.sign_in_instead"))
    return pages.page(words, words.t("account.sign_up"), body, request=request, status=pages.status_of(error))
