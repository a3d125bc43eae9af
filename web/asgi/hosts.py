"""Refuse requests for unknown host names (shared/hosts.py says why), with 421 and a page that names the setting.

Health and metrics are exempt. Probes use a pod's address and Prometheus a service's name, which cannot be listed. The
answers hold no personal data, and nginx does not pass these paths on.
"""

from __future__ import annotations

import logging
from html import escape

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from shared import metrics
from shared.hosts import KnownHosts, name_in
from web.asgi.sentence_page import sentence_page, words_for
from web.asgi.sparse_log import SparseLog
from web.runtime import current_runtime

log = logging.getLogger(__name__)

EXEMPT_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/_stcore/health"})
MISDIRECTED = 421
#: The longest name that DNS allows. A longer value is not shown.
LONGEST_NAME = 253


class HostMiddleware:
    """Passes on requests for a known name, and refuses all others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._known: KnownHosts | None = None
        self._refused = SparseLog(log, "host refused")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on, or refuse it."""
        if scope["type"] not in {"http", "websocket"} or scope["path"] in EXEMPT_PATHS or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        name = _shown(headers)
        metrics.REFUSED_HOSTS.inc()
        self._refused(host=name, path=scope["path"][:LONGEST_NAME])
        answer = _answer(headers, name)
        if scope["type"] == "http":
            await answer(scope, receive, send)
            return
        websocket = WebSocket(scope, receive, send)
        await receive()
        if "websocket.http.response" in scope.get("extensions", {}):
            await websocket.send_denial_response(answer)
        else:
            await websocket.close(1008, "unknown host")

    def _is_known(self, scope: Scope) -> bool:
        if self._known is None:
            self._known = KnownHosts(current_runtime().settings)
        hosts = Headers(scope=scope).getlist("host")
        return self._known.knows(hosts[0] if len(hosts) == 1 else None)


def _shown(headers: Headers) -> str:
    """Return the name as the page and the log show it; empty if it is missing or not a valid name."""
    name = name_in(headers.get("host")) or ""
    return name if len(name) <= LONGEST_NAME else ""


def _answer(headers: Headers, name: str) -> Response:
    words = words_for(headers)
    sentence, operator = words.t("host.sentence", host=name or "?"), words.t("host.operator")
    setting = f"NARU_ALLOWED_HOSTS={name}"
    if "text/html" in headers.get("accept", ""):
        body = f"<p>{escape(sentence)}</p><p>{escape(operator)}</p><p><code>{escape(setting)}</code></p>"
        return sentence_page(words, status=MISDIRECTED, title=words.t("host.title"), body=body)
    data = {"error": "unknown_host", "message": f"{sentence} {operator} {setting}"}
    return JSONResponse(data, status_code=MISDIRECTED, headers={"cache-control": "no-store"})
