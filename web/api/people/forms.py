"""Read a form, and make its handlers: only with accounts, and only from our own site."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from html import escape
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from shared.errors import Unavailable
from shared.people.sessions import SignedIn
from shared.settings import GUEST
from shared.words import Words
from web.api.answers import Refusal
from web.api.guard import is_own_site
from web.api.people.places import ACCOUNT, path_back
from web.asgi.identity import is_secure, signed_in_in
from web.asgi.sentence_page import sentence_page, words_for
from web.runtime import current_runtime
from web.state import LOCALE_COOKIE

#: Longest body of a form: its longest values are a password and an e-mail address.
LONGEST_FORM_BYTES = 8192
MOST_VALUES = 10

Handler = Callable[[Request], Awaitable[Response]]
PersonsHandler = Callable[[Request, SignedIn, Mapping[str, str]], Awaitable[Response]]


def with_accounts(handler: Handler) -> Handler:
    """Wrap a route that exists only with accounts; without them it leads to the chat.

    While the database is away, it answers with a page that says so.
    """

    @functools.wraps(handler)
    async def guarded(request: Request) -> Response:
        if current_runtime().settings.auth == GUEST:
            return go_to(request, "/")
        await current_runtime().banners.current()  # for the pages (pages.py)
        return await _unless_away(handler, request)

    return guarded


def with_guest_links(handler: Handler) -> Handler:
    """Wrap a route that exists only for guests, and only while they may keep a link to their chats."""

    @functools.wraps(handler)
    async def guarded(request: Request) -> Response:
        settings = current_runtime().settings
        if request.method == "POST":
            _refuse_foreign(request)
        if settings.auth != GUEST:
            return go_to(request, "/sign-in")
        if not settings.guest_link_days:
            return go_to(request, "/")
        return await _unless_away(handler, request)

    return guarded


def with_passwords(handler: Handler) -> Handler:
    """Wrap a route that exists only where people sign in with a password of ours; it leads to the sign-in elsewhere."""

    @with_accounts
    @functools.wraps(handler)
    async def guarded(request: Request) -> Response:
        if current_runtime().settings.has_passwords:
            return await handler(request)
        if request.method == "POST":
            await form_of(request)
        return go_to(request, "/sign-in")

    return guarded


def form_of_a_person(handler: PersonsHandler) -> Handler:
    """Wrap a route that takes a form from a signed-in person; everybody else is sent to the sign-in."""

    @with_accounts
    @functools.wraps(handler)
    async def guarded(request: Request) -> Response:
        values = await form_of(request)
        signed_in = signed_in_in(request.scope)
        if signed_in is None:
            return go_to(request, "/sign-in", back=ACCOUNT)
        return await handler(request, signed_in, values)

    return guarded


def _refuse_foreign(request: Request) -> None:
    headers = request.headers
    if not is_own_site(headers) or not ({"origin", "sec-fetch-site"} & set(headers)):
        raise Refusal(403, "foreign_origin", "This can only be requested from Naru's own page.")


async def _unless_away(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except Unavailable:
        words = words_of(request)
        body = f"<p>{escape(words.error(Unavailable.code))}</p>"
        return sentence_page(words, status=503, title=words.t("app.name"), body=body)


async def form_of(request: Request) -> Mapping[str, str]:
    """Return the values of a form that our own page sent. Raises Refusal.

    A browser always names the origin of a form. Without one, nothing shows that our page sent it.
    """
    _refuse_foreign(request)
    return await values_in(request)


async def values_in(request: Request, *, longest: int = LONGEST_FORM_BYTES) -> Mapping[str, str]:
    """Return the values of a form, whoever sent it. Raises Refusal."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            raise Refusal(413, "form_too_long", "The form is too long.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_VALUES, errors="strict"))
    except ValueError:
        raise Refusal(400, "malformed_form", "The form could not be read.") from None


def words_of(request: Request) -> Words:
    """Return the words in the person's language."""
    return words_for(request.headers, chosen=request.cookies.get(LOCALE_COOKIE))


def path_to(request: Request, path: str, *, back: str = "") -> str:
    """Return the address of a path of ours, below a proxy's prefix.

    `back` is the place to return to (places.py): the path "/" is this place itself, others pass it on.
    """
    prefix = str(request.scope.get("root_path", "")).rstrip("/")
    if path == "/":
        return f"{prefix}{path_back(back)}"
    return f"{prefix}{path}{f'?c={back}' if back else ''}"


def address_of(request: Request, path: str) -> str:
    """Return the whole address of a path of ours, for other sites: on NARU_DOMAIN, else on the host of the request."""
    settings = current_runtime().settings
    scheme = "https" if settings.domain or is_secure(request.scope, settings) else "http"
    host = settings.domain or request.headers.get("host", "")
    return f"{scheme}://{host}{path_to(request, path)}"


def go_to(request: Request, path: str, *, back: str = "") -> Response:
    """Send the browser to a path of ours with a GET."""
    return RedirectResponse(path_to(request, path, back=back), status_code=303, headers={"cache-control": "no-store"})
