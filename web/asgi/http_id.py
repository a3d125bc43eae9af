"""The id of an HTTP request or WebSocket, by which it is found in the log of the proxy in front and in ours.

nginx makes it and sends it along as X-Request-ID; where no proxy does, it is made here. It is on every line that is
logged for the request, and in its answer. A question's own id (`request_id` in the logs) is another: many questions
come by one WebSocket, and each one's "submitted" line names both.
"""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.logs import HTTP_REQUEST_ID, bound

HEADER = "x-request-id"
#: What is taken from outside: an id, and nothing that could be read as something else.
_FORM = re.compile("[A-Za-z0-9._-]{8,64}")


class HttpIdMiddleware:
    """The outermost layer but one: what fails within is logged with the id too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        http_request_id = given if _FORM.fullmatch(given) else uuid4().hex
        if http_request_id != given:
            # Streamlit passes the headers on to the page's threads: what it finds there is the id.
            MutableHeaders(scope=scope)[HEADER] = http_request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = http_request_id
            await send(message)

        with bound(**{HTTP_REQUEST_ID: http_request_id}):
            await self._app(scope, receive, send_with_id)
