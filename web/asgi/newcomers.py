"""Limit how many new identities one address gets, since a GET is enough to get one.

Beyond the limit the page itself is withheld, with status 429. A page without a cookie would cost a hundred files and a
session, and could do nothing.
"""

from __future__ import annotations

import math
import random
from html import escape

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.asgi.address import client_of
from web.asgi.sentence_page import sentence_page, words_for
from web.limits import report_over_limit
from web.runtime import current_runtime

#: IdentityMiddleware sets this in the scope when it issues a new identity.
IS_NEWCOMER = "naru.is_newcomer"
LIMIT = "address_newcomers"
#: Random extra seconds before the page reloads itself, so that waiting browsers do not return together.
_SPREAD_SECONDS = (5, 15)


class NewcomerMiddleware:
    """Wraps IdentityMiddleware, and replaces its answer beyond the limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection on, and refuse a newcomer beyond the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_refused = False

        async def send_within_limit(message: Message) -> None:
            nonlocal is_refused
            if is_refused:
                return
            if message["type"] == "http.response.start" and scope.get(IS_NEWCOMER):
                client = client_of(scope)
                if wait := current_runtime().newcomers.take(client):
                    is_refused = True
                    report_over_limit(LIMIT, client)
                    await _refusal(scope, wait)(scope, receive, send)
                    return
            await send(message)

        await self._app(scope, receive, send_within_limit)


def _refusal(scope: Scope, wait: float) -> Response:
    """Return a page that gives the reason and reloads itself."""
    words = words_for(Headers(scope=scope))
    seconds = math.ceil(wait) + random.randint(*_SPREAD_SECONDS)
    body = f"<p>{escape(words.error('newcomers', seconds=seconds))}</p>"
    reload = f'<meta http-equiv="refresh" content="{seconds}">\n'
    page = sentence_page(words, status=429, title=words.t("newcomers.title"), body=body, head=reload)
    page.headers["retry-after"] = str(seconds)
    return page
