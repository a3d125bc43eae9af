"""The id of an HTTP request or WebSocket, which links the proxy's log to ours.

nginx sends it as X-Request-ID; without a proxy it is made here. Every log line of the request has it, and so has the
answer. It differs from a question's id (`request_id` in the logs): one WebSocket carries many questions, and the
"submitted" line of each names both ids.
"""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.logs import HTTP_REQUEST_ID, bound

HEADER = "x-request-id"
#: The only form accepted from outside, so that an id cannot forge a log line.
_FORM = re.compile("[A-Za-z0-9._-]{8,64}")


class HttpIdMiddleware:
    """Adds the id. It is outside all other layers but one, so that their errors are logged with the id too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the id to the request, the answer and the log, and pass the connection on."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        http_request_id = given if _FORM.fullmatch(given) else uuid4().hex
        if http_request_id != given:
            # Streamlit passes the headers on to the script threads, which read the id there.
            MutableHeaders(scope=scope)[HEADER] = http_request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = http_request_id
            await send(message)

        with bound(**{HTTP_REQUEST_ID: http_request_id}):
            await self._app(scope, receive, send_with_id)
