"""Answer unknown addresses with a 404 and a link to the start page.

Streamlit's own catch-all would serve an empty page with status 200.
"""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from web.api.answers import Refusal
from web.asgi.sentence_page import sentence_page, words_for
from web.state import LOCALE_COOKIE

#: First parts of the paths that Streamlit serves itself.
STREAMLITS = frozenset({"_stcore", "app", "auth", "component", "media", "oauth2callback", "static"})


class Lost(Route):
    """Matches every path except Streamlit's own. It must be the last of our routes."""

    def __init__(self) -> None:
        super().__init__("/{path:path}", _lost, methods=["GET"])

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match HTTP and WebSocket scopes, as Starlette requires."""
        path = str(scope.get("path", "")).removeprefix(str(scope.get("root_path", "")).rstrip("/"))
        if path.lstrip("/").split("/", 1)[0] in STREAMLITS:
            return Match.NONE, {}
        return super().matches(scope)


async def _lost(request: Request) -> Response:
    """Return a page to browsers. Raises Refusal for other clients, which get one sentence as JSON."""
    words = words_for(request.headers, chosen=request.cookies.get(LOCALE_COOKIE))
    title = words.t("lost.title")
    if "text/html" not in request.headers.get("accept", ""):
        raise Refusal(404, "no_such_page", f"{title}.")
    home = escape(request.scope.get("root_path", "").rstrip("/") + "/", quote=True)
    icon = f'<link rel="icon" href="{home}favicon.png" type="image/svg+xml">\n'
    body = f'<p>{escape(words.t("lost.text"))}</p><a href="{home}">{escape(words.t("lost.home"))}</a>'
    return sentence_page(words, status=404, title=title, body=body, head=icon)
