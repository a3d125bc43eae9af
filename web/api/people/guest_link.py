"""GET, POST /keep, POST /keep/end, GET, POST /kept: a guest's link to their chats, for another browser.

Whoever opens the link and confirms gets the cookie of that guest. This browser's own chats do not come along: somebody
could have sent the link to get them.
"""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import BadLink, NaruError
from shared.people import Owner, guest_links, taking_over
from web.api.people import attempts, pages
from web.api.people.forms import form_of, go_to, path_to, with_guest_links, words_of
from web.asgi.cookies import Cookies, set_cookie
from web.asgi.identity import browser_in, is_secure
from web.runtime import current_runtime

log = logging.getLogger(__name__)


@with_guest_links
async def keep_page(request: Request) -> Response:
    """Show whether there is a link, with the forms that make and revoke one."""
    return await _keep_page(request)


@with_guest_links
async def make_link(request: Request) -> Response:
    """Make a link and show it, this once."""
    await form_of(request)
    browser_id, runtime = browser_in(request.scope), current_runtime()
    if browser_id is None:
        return go_to(request, "/keep")
    token = await asyncio.to_thread(guest_links.make, runtime.engine, browser_id, days=runtime.settings.guest_link_days)
    log.info("guest's link made", extra={"owner": Owner.browser(browser_id).key})
    return await _keep_page(request, token=token)


@with_guest_links
async def revoke_link(request: Request) -> Response:
    """Make the link invalid."""
    await form_of(request)
    browser_id = browser_in(request.scope)
    if browser_id is not None:
        await asyncio.to_thread(guest_links.revoke, current_runtime().engine, browser_id)
        log.info("guest's link revoked", extra={"owner": Owner.browser(browser_id).key})
    return go_to(request, "/keep")


@with_guest_links
async def kept_page(request: Request) -> Response:
    """Ask whether this browser shall show the chats of the link."""
    token = request.query_params.get("link", "")
    try:
        linked = await _browser_behind(request, token)
    except NaruError as error:
        return _refusal(request, error)
    if linked == browser_in(request.scope):
        return go_to(request, "/")
    words, own = words_of(request), await _own_chats(request)
    parts = [
        pages.paragraph(words.t("guest.open_text")),
        pages.paragraph(words.t("guest.open_own", number=own)) if own else "",
        pages.form(path_to(request, "/kept"), words.t("guest.open"), hidden={"link": token}),
        pages.link(path_to(request, "/"), words.t("guest.open_not")),
    ]
    return pages.page(words, words.t("guest.open_title"), "".join(parts), request=request)


@with_guest_links
async def open_kept(request: Request) -> Response:
    """Give this browser the cookie of the link's guest."""
    values = await form_of(request)
    try:
        linked = await _browser_behind(request, values.get("link", ""))
    except NaruError as error:
        return _refusal(request, error)
    settings = current_runtime().settings
    cookie = Cookies(settings.secret_key).make(linked, is_tls=is_secure(request.scope, settings))
    answer = go_to(request, "/")
    answer.headers.append("set-cookie", set_cookie(*cookie))
    await asyncio.to_thread(guest_links.note_opened, current_runtime().engine, linked)
    log.info("guest's link opened", extra={"owner": Owner.browser(linked).key})
    return answer


async def _browser_behind(request: Request, token: str) -> UUID:
    """Return the guest of a link, within the attempts of the address. Raises BadLink, TooManySignIns, Unavailable."""
    return await attempts.open_link(request, lambda engine: guest_links.browser_behind(engine, token))


async def _own_chats(request: Request) -> int:
    browser_id = browser_in(request.scope)
    if browser_id is None:
        return 0
    return await asyncio.to_thread(taking_over.conversations_of, current_runtime().engine, Owner.browser(browser_id))


async def _keep_page(request: Request, *, token: str = "") -> Response:
    words, browser_id, runtime = words_of(request), browser_in(request.scope), current_runtime()
    found = None
    if browser_id is not None:
        found = await asyncio.to_thread(guest_links.link_of, runtime.engine, browser_id)
    parts = [pages.paragraph(words.t("guest.keep_text", days=runtime.settings.guest_link_days))]
    if token:
        parts += [
            pages.done(words.t("guest.made")),
            pages.shown(words.t("guest.link"), _address(request, f"/kept?link={token}")),
        ]
    elif found:
        parts.append(pages.paragraph(words.t("guest.exists", since=words.time(found.created_at))))
    make = words.t("guest.make_again" if found else "guest.make")
    parts.append(pages.form(path_to(request, "/keep"), make, is_quiet=bool(token)))
    if found:
        parts.append(pages.form(path_to(request, "/keep/end"), words.t("guest.revoke"), is_quiet=True))
    parts.append(pages.link(path_to(request, "/"), words.t("account.back")))
    return pages.page(words, words.t("guest.keep"), "".join(parts), request=request)


def _address(request: Request, path: str) -> str:
    """Return the address of a path on the page that this browser has open; its host name is an allowed one."""
    scheme = "https" if is_secure(request.scope, current_runtime().settings) else "http"
    return f"{scheme}://{request.headers.get('host', '')}{path_to(request, path)}"


def _refusal(request: Request, error: NaruError) -> Response:
    words = words_of(request)
    sentence = words.t("guest.bad_link") if isinstance(error, BadLink) else pages.said(words, error)
    body = pages.error(sentence) + pages.link(path_to(request, "/"), words.t("account.back"))
    return pages.page(words, words.t("guest.open_title"), body, request=request, status=pages.status_of(error))
