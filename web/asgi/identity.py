"""Find the owner of a request. Routes and the page get the owner only from here.

With NARU_AUTH=guest the owner is the browser, known by a signed cookie. With accounts it is the person whose session
the browser has; the browser's cookie then only tells devices apart, and who the guest was before.

The middleware passes the owner's key on, to our routes in the scope and to Streamlit in a header.
"""

from __future__ import annotations

import logging
from urllib.parse import quote
from uuid import UUID, uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import audit, metrics
from shared.errors import Unavailable
from shared.people import Owner
from shared.people.sessions import SignedIn
from shared.settings import GUEST, Settings
from web.asgi.address import client_of
from web.asgi.cookies import Cookies, Reading, SessionCookie, Verdict, set_cookie
from web.asgi.newcomers import IS_NEWCOMER
from web.asgi.sparse_log import SparseLog
from web.runtime import current_runtime

log = logging.getLogger(__name__)

#: Streamlit binds its session to this header's value (web/app.py). Only the middleware sets it.
OWNER_HEADER = "x-naru-owner"
#: The scope key of the owner, for our routes.
_OWNER_KEY = "naru.owner_id"
#: The reason for a missing owner, which the page shows.
VERDICT_HEADER = "x-naru-cookie"
#: The signed-in person's e-mail address or name, percent-encoded, which the page shows.
PERSON_HEADER = "x-naru-person"
#: The scope key of the Set-Cookie header that renews the session's cookie.
_SESSION_KEY = "naru.session_cookie"
#: The id and the role of that person's session. A role that changes ends the session.
SESSION_HEADER, ROLE_HEADER = "x-naru-session", "x-naru-role"
_SIGNED_IN_KEY, _BROWSER_KEY, _VERDICT_KEY = "naru.signed_in", "naru.browser_id", "naru.verdict"


def owner_in(scope: Scope) -> Owner | None:
    """Return the owner that the middleware found; None for a browser without a good cookie."""
    key = scope.get(_OWNER_KEY)
    return None if key is None else Owner.from_key(key)


def signed_in_in(scope: Scope) -> SignedIn | None:
    """Return the session that the middleware found, if the browser has one."""
    found: SignedIn | None = scope.get(_SIGNED_IN_KEY)
    return found


def browser_in(scope: Scope) -> UUID | None:
    """Return the id in the browser's own cookie, whether somebody is signed in or not."""
    found: UUID | None = scope.get(_BROWSER_KEY)
    return found


def verdict_in(scope: Scope) -> Verdict:
    """Return why there is an owner, or none."""
    found: Verdict = scope.get(_VERDICT_KEY, Verdict.MISSING)
    return found


def is_secure(scope: Scope, settings: Settings) -> bool:
    """Whether the browser uses TLS, as far as we know."""
    return scope["scheme"] in {"https", "wss"} or settings.secure_cookies


def owner_of(reading: Reading) -> Owner | None:
    """Return the guest that a request's cookies name, or None."""
    return None if reading.browser_id is None else Owner.browser(reading.browser_id)


class IdentityMiddleware:
    """Puts the owner into the scope, and sets the cookie of a browser that loads a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._cookies: Cookies | None = None
        self._session_cookie: SessionCookie | None = None
        self._refused = SparseLog(log, "identity refused", level=logging.INFO)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find the owner, and pass the connection on."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        settings = current_runtime().settings
        if self._cookies is None:
            self._cookies = Cookies(settings.secret_key)
        cookies = self._cookies
        is_tls = is_secure(scope, settings)
        reading = cookies.read(Headers(scope=scope).getlist("cookie"), is_tls=is_tls)
        _count(scope, reading.verdict)
        if reading.verdict not in {Verdict.GOOD, Verdict.MISSING}:
            # From one browser, this is a foreign cookie. From every browser: NARU_SECRET_KEY has changed.
            self._refused(path=scope["path"], verdict=reading.verdict.value)
        scope[_BROWSER_KEY] = reading.browser_id
        if settings.auth == GUEST:
            _pass_on(scope, owner_of(reading), reading.verdict)
        else:
            await self._sign_in(scope, settings, is_tls=is_tls)
        has_browsers = reading.is_current or reading.verdict.forbids_cookie

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(scope, message):
                headers = MutableHeaders(scope=message)
                if not has_browsers:
                    browser_id = reading.browser_id or fresh_identity(scope)
                    headers.append("set-cookie", set_cookie(*cookies.make(browser_id, is_tls=is_tls)))
                if _SESSION_KEY in scope:
                    headers.append("set-cookie", scope[_SESSION_KEY])
            await send(message)

        has_cookie = scope["type"] == "websocket" or (has_browsers and _SESSION_KEY not in scope)
        with audit.acting(scope[_OWNER_KEY] or "", client_of(scope)):
            await self._app(scope, receive, send if has_cookie else send_with_cookie)

    async def _sign_in(self, scope: Scope, settings: Settings, *, is_tls: bool) -> None:
        """Find the person whose session the browser has. Renews a cookie of an older key, as that of the browser."""
        if self._session_cookie is None:
            self._session_cookie = SessionCookie(settings.secret_key)
        given = Headers(scope=scope).getlist("cookie")
        token = self._session_cookie.read(given, is_tls=is_tls)
        found: SignedIn | None = None
        verdict = Verdict.SIGNED_OUT
        if token is not None:
            try:
                found = await current_runtime().sign_ins.find(token)
            except Unavailable:
                verdict = Verdict.UNKNOWN
        scope[_SIGNED_IN_KEY] = found
        if found is not None and token is not None and self._session_cookie.is_old(given, is_tls=is_tls):
            name, value = self._session_cookie.make(token, is_tls=is_tls)
            scope[_SESSION_KEY] = set_cookie(name, value, seconds=settings.session_days * 86_400)
        if found is None:
            _pass_on(scope, None, verdict)
        else:
            _pass_on(scope, found.owner, Verdict.GOOD, signed_in=found)


def fresh_identity(scope: Scope) -> UUID:
    """Return a new identity, and mark the scope so that NewcomerMiddleware counts it."""
    scope[IS_NEWCOMER] = True
    return uuid4()


def _pass_on(scope: Scope, owner: Owner | None, verdict: Verdict, *, signed_in: SignedIn | None = None) -> None:
    """Set the owner in the scope for routes, and in headers for Streamlit, replacing any that the client sent."""
    scope[_OWNER_KEY] = None if owner is None else owner.key
    scope[_VERDICT_KEY] = verdict
    headers = MutableHeaders(scope=scope)
    del headers[OWNER_HEADER]
    headers[VERDICT_HEADER] = verdict.value
    headers[PERSON_HEADER] = "" if signed_in is None else quote(signed_in.shown)
    headers[SESSION_HEADER] = "" if signed_in is None else str(signed_in.session_id)
    headers[ROLE_HEADER] = "" if signed_in is None else signed_in.role
    if owner is not None:
        headers[OWNER_HEADER] = owner.key


def _count(scope: Scope, verdict: Verdict) -> None:
    """Count the verdicts, since each bad one is a browser without its conversations.

    Many refused cookies mean a changed key or two different keys. Cookies missing at the page's socket do not reach us.
    """
    what = {Verdict.GOOD: "good", Verdict.MISSING: "missing"}.get(verdict, "refused")
    if scope["type"] == "websocket":
        metrics.COOKIES.labels("socket", what).inc()
    elif scope["method"] == "GET" and "text/html" in Headers(scope=scope).get("accept", ""):
        metrics.COOKIES.labels("page", "new" if what == "missing" else what).inc()


def _is_page(scope: Scope, message: Message) -> bool:
    """Return whether this answer is a page. Only pages set the cookie: two parallel scripts would set two identities.

    A 304 counts, because the cookie of a cached page may have been deleted.
    """
    if scope["method"] != "GET":
        return False
    if message["status"] == 304:
        return "text/html" in Headers(scope=scope).get("accept", "")
    return message["status"] == 200 and MutableHeaders(scope=message).get("content-type", "").startswith("text/html")
