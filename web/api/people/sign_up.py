"""GET, POST /sign-up: make an account, with an invitation or where anybody may."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import BadLink, InvitationNeeded, NaruError
from shared.people import accounts, allowances, links
from shared.settings import OPEN
from web.api.people import pages, passwords, signing
from web.api.people.forms import form_of, go_to, path_to, with_passwords, words_of
from web.api.people.sign_in import ACCOUNTS_OF_AN_ADDRESS, address_key, where_next
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
    return _page(request, invitation=invitation)


@with_passwords
async def sign_up(request: Request) -> Response:
    """Make the account and begin its first session."""
    values = await form_of(request)
    email, password, invitation = (values.get(name, "") for name in ("email", "password", "invitation"))
    runtime = current_runtime()
    try:
        await _check_invitation(invitation)  # before a password is hashed for anybody
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
            is_open=runtime.settings.sign_up == OPEN,
        )
    except (BadLink, InvitationNeeded) as error:
        return _refusal(request, error)
    except NaruError as error:
        return _page(request, invitation=invitation, email=email, error=error)
    log.info("account made", extra={"owner": person.owner.key, "role": person.role.value})
    answer = go_to(request, await where_next(request))
    await signing.begin(request, person, answer)
    return answer


async def _check_invitation(invitation: str) -> None:
    """Raise BadLink for an invitation that cannot be used, and InvitationNeeded without a needed one."""
    runtime = current_runtime()
    if invitation:
        if not await asyncio.to_thread(links.is_valid, runtime.engine, invitation, "invitation"):
            raise BadLink
        return
    if runtime.settings.sign_up != OPEN or not await asyncio.to_thread(accounts.has_people, runtime.engine):
        raise InvitationNeeded


def _page(request: Request, *, invitation: str, email: str = "", error: NaruError | None = None) -> Response:
    words = words_of(request)
    entries = (
        pages.Entry(name="email", label=words.t("account.email"), kind="email", autocomplete="username", value=email),
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
