"""Who is asking: for now one signed cookie per browser. Routes and the page learn the owner here and nowhere
else.

An owner is a text such as `browser:<uuid>`; every row is reached through it only. Accounts belong here too: a
signed-in person's owner would be found first, in `owner_of_request` and `owner_of`, before the browser's
cookie is looked at.
"""

from __future__ import annotations

import logging
from typing import cast
from uuid import UUID, uuid4

from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import metrics
from web.runtime import current_runtime

log = logging.getLogger(__name__)

COOKIE = "naru_browser"
LIFETIME_SECONDS = 365 * 86_400
#: A cookie older than this is issued anew, with the same identity, when a page is loaded.
RENEW_AFTER_SECONDS = 86_400
_SALT = "naru.browser"


class Cookies:
    """Makes and reads the signed cookie. The same key in every web process makes the same identity."""

    def __init__(self, secret_key: str) -> None:
        self._signer = TimestampSigner(secret_key, salt=_SALT)

    def make(self, browser_id: UUID) -> str:
        """The cookie's value for this browser."""
        return self._signer.sign(browser_id.hex).decode()

    def read(self, value: str | None) -> tuple[UUID, float] | None:
        """The browser and its cookie's age in seconds; None for one that is missing, forged or expired."""
        if not value:
            return None
        try:
            # Its age is looked at here: `max_age` would also refuse a cookie from the future, which is what another
            # web process makes whose clock is a second ahead; the browser would lose its conversations.
            signed, at = self._signer.unsign(value, return_timestamp=True)
            age = self._signer.get_timestamp() - at.timestamp()
            return None if age > LIFETIME_SECONDS else (UUID(hex=signed.decode()), age)
        except (BadSignature, ValueError):
            return None


def owner_of(cookie_value: str | None) -> str | None:
    """The owner behind a cookie's value (the page has it in `st.context.cookies`); None for none."""
    found = Cookies(current_runtime().settings.secret_key).read(cookie_value)
    return None if found is None else _owner(found[0])


def owner_of_request(connection: HTTPConnection) -> str | None:
    """The owner of a request to one of our routes, as the middleware found it."""
    return cast("str | None", connection.scope.get("naru.owner_id"))


def _owner(browser_id: UUID) -> str:
    return f"browser:{browser_id}"


class IdentityMiddleware:
    """Passes the owner on in the scope, and gives each browser its cookie when it loads a page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._cookies: Cookies | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        runtime = current_runtime()
        if self._cookies is None:
            self._cookies = Cookies(runtime.settings.secret_key)
        given = HTTPConnection(scope).cookies.get(COOKIE)
        found = self._cookies.read(given)
        _count(scope, is_there=given is not None, is_good=found is not None)
        if found is None and given:
            # Of one browser: a cookie from elsewhere. Of all of them: NARU_SECRET_KEY is not what it was.
            log.info("identity refused", extra={"path": scope["path"]})
        scope["naru.owner_id"] = None if found is None else _owner(found[0])
        if scope["type"] == "websocket" or (found is not None and found[1] < RENEW_AFTER_SECONDS):
            await self._app(scope, receive, send)
            return
        fresh = self._cookies.make(uuid4() if found is None else found[0])
        is_secure = scope["scheme"] == "https" or runtime.settings.secure_cookies

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_page(scope, message):
                MutableHeaders(scope=message).append("set-cookie", _header(fresh, is_secure=is_secure))
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def _count(scope: Scope, *, is_there: bool, is_good: bool) -> None:
    """What the cookies are that come back: refused in number they tell of a changed or of two different keys, missing
    at the page's socket of cookies that do not reach us. Each is a browser that has lost its conversations."""
    if scope["type"] == "websocket":
        metrics.COOKIES.labels("socket", "good" if is_good else "refused" if is_there else "missing").inc()
    elif scope["method"] == "GET" and "text/html" in HTTPConnection(scope).headers.get("accept", ""):
        metrics.COOKIES.labels("page", "good" if is_good else "refused" if is_there else "new").inc()


def _is_page(scope: Scope, message: Message) -> bool:
    """Only a page sets the cookie: two scripts that load at once would set two identities.

    A page that the browser has already (304) counts: its cookie may have been deleted meanwhile.
    """
    if scope["method"] != "GET":
        return False
    if message["status"] == 304:
        return "text/html" in HTTPConnection(scope).headers.get("accept", "")
    return message["status"] == 200 and MutableHeaders(scope=message).get("content-type", "").startswith("text/html")


def _header(value: str, *, is_secure: bool) -> str:
    secure = "; Secure" if is_secure else ""
    return f"{COOKIE}={value}; Max-Age={LIFETIME_SECONDS}; Path=/; HttpOnly; SameSite=Lax{secure}"
