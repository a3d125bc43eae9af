"""Add security headers to every answer, and refuse requests from other sites.

Browsers name the site that a request comes from (Origin, Sec-Fetch-Site), and pages cannot forge it. Requests that
change something also need our own header, which another site's page cannot send without a CORS preflight. Access to
rows is checked by owner, not here.
"""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config as streamlit_config

from web.api.answers import LONGEST_PATH, Refusal
from web.api.headers import security_headers, transport_security
from web.asgi.address import client_of
from web.asgi.sparse_log import SparseLog
from web.runtime import current_runtime

log = logging.getLogger(__name__)


class GuardMiddleware:
    """Adds the headers, and refuses another site's WebSocket before Streamlit sees it.

    Streamlit's own check stays on, but is weaker and slower: it allows pages of localhost and of the machine's
    addresses, and asks a server on the internet for the latter, in the event loop, each time a foreign page tries.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in security_headers().items()]
        self._names = frozenset(name for name, _ in self._headers)
        self._refused = SparseLog(log, "refused", level=logging.INFO)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on with the headers added, or refuse it."""
        if scope["type"] == "websocket" and not is_own_site(Headers(scope=scope)):
            await receive()
            self._refused(error_code="foreign_origin", path=scope["path"][:LONGEST_PATH], client=client_of(scope))
            await send({"type": "websocket.close", "code": 1008, "reason": "another site"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        settings = current_runtime().settings
        is_tls = scope["scheme"] == "https"
        ours = [*self._headers, *(transport_security(settings.hsts_seconds) if is_tls else ())]

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].lower() not in self._names]
                if is_tls or settings.secure_cookies:
                    kept = [(name, _secured(name, value)) for name, value in kept]
                message["headers"] = [*kept, *ours]
            await send(message)

        await self._app(scope, receive, send_guarded)


def _secured(name: bytes, value: bytes) -> bytes:
    """Add the Secure attribute, which Streamlit's own cookies lack."""
    if name.lower() != b"set-cookie" or b"; secure" in value.lower():
        return value
    return value + b"; Secure"


def is_own_site(headers: Headers) -> bool:
    """Whether the request comes from our own site. A missing Origin is allowed (non-browser or same-origin)."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return _is_allowed(headers.get("origin"))
    origin = headers.get("origin")
    return origin is None or _netloc(origin) == headers.get("host") or _is_allowed(origin)


def _netloc(origin: str) -> str | None:
    """Return the host and port of an origin; None if it is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_allowed(origin: str | None) -> bool:
    """Whether the operator allows this origin in Streamlit's option, for a proxy that changes the Host."""
    return origin is not None and origin in (streamlit_config.get_option("server.corsAllowedOrigins") or ())


def refuse_foreign_post(request: Request) -> None:
    """Raise Refusal unless our own page sent this request."""
    if not is_own_site(request.headers):
        raise Refusal(403, "foreign_origin", "This can only be requested from Naru's own page.")
    if request.headers.get("x-naru") != "1":
        raise Refusal(403, "missing_header", "The header X-Naru: 1 is missing.")
