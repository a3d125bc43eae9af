"""GET, POST /guest-chats: take over the chats that this browser had before the sign-in, or leave them."""

from __future__ import annotations

import asyncio
import logging

from starlette.requests import Request
from starlette.responses import Response

from shared.people import Owner, taking_over
from web.api.people import pages
from web.api.people.forms import form_of, go_to, path_to, with_accounts, words_of
from web.api.people.places import back_in
from web.asgi.identity import browser_in, owner_in
from web.runtime import current_runtime

log = logging.getLogger(__name__)


@with_accounts
async def guest_chats_page(request: Request) -> Response:
    """Ask what to do with the chats; go on to the chat where there are none."""
    back = back_in(request.query_params)
    owner, guest = owner_in(request.scope), _guest_of(request)
    if owner is None:
        return go_to(request, "/sign-in", back=back)
    number = 0
    if guest is not None:
        number = await asyncio.to_thread(taking_over.conversations_of, current_runtime().engine, guest)
    if not number:
        return go_to(request, "/", back=back)
    words = words_of(request)
    body = pages.paragraph(words.t("account.guest_chats_text", number=number))
    body += pages.form(path_to(request, "/guest-chats"), words.t("account.take_over"), hidden={"c": back})
    body += pages.link(path_to(request, "/", back=back), words.t("account.leave_them"))
    return pages.page(words, words.t("account.guest_chats"), body, request=request)


@with_accounts
async def take_over_guest_chats(request: Request) -> Response:
    """Make the guest's chats the person's."""
    back = back_in(await form_of(request))
    owner, guest = owner_in(request.scope), _guest_of(request)
    if owner is None:
        return go_to(request, "/sign-in", back=back)
    if guest is not None:
        number = await asyncio.to_thread(taking_over.take_over, current_runtime().engine, guest=guest, person=owner)
        log.info("guest's chats taken over", extra={"owner": owner.key, "conversations": number})
    return go_to(request, "/", back=back)


def _guest_of(request: Request) -> Owner | None:
    browser_id = browser_in(request.scope)
    return None if browser_id is None else Owner.browser(browser_id)
