"""Every address that is no page: a clear 404 with a way home.

Streamlit's own catch-all would answer it with the page's shell and status 200, and draw nothing in it.
"""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from web.routes.answers import Refusal
from web.state import LOCALE_COOKIE
from web.words import Words, best_locale

#: First parts of the paths that Streamlit serves itself.
STREAMLITS = frozenset({"_stcore", "app", "auth", "component", "media", "oauth2callback", "static"})

_PAGE = """<!DOCTYPE html>
<html lang="{locale}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · {name}</title>
<link rel="icon" href="{home}favicon.png" type="image/svg+xml">
<style>
:root {{ color-scheme: light dark; --accent: light-dark(#0b6e69, #5cc4bc); }}
body {{ display: grid; place-items: center; min-height: 100vh; margin: 0; padding: 16px; box-sizing: border-box;
  background: light-dark(#ffffff, #151918); color: light-dark(#1b2222, #e7ebea);
  font: 16px/1.65 'Pretendard Variable', Pretendard, system-ui, sans-serif; word-break: keep-all; }}
main {{ max-width: 440px; }}
h1 {{ margin: 0 0 8px; font-size: 24px; line-height: 1.35; }}
p {{ margin: 0 0 24px; }}
a {{ display: inline-block; padding: 0 20px; border-radius: 10px; background: var(--accent);
  color: light-dark(#ffffff, #151918); line-height: 44px; text-decoration: none; }}
a:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
</style>
</head>
<body><main><h1>{title}</h1><p>{text}</p><a href="{home}">{way}</a></main></body>
</html>
"""


class Lost(Route):
    """Matches every path but Streamlit's own; it must stand behind all other routes of ours."""

    def __init__(self) -> None:
        super().__init__("/{path:path}", _lost, methods=["GET"])

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Starlette's question, asked for HTTP and WebSocket alike."""
        path = str(scope.get("path", "")).removeprefix(str(scope.get("root_path", "")).rstrip("/"))
        if path.lstrip("/").split("/", 1)[0] in STREAMLITS:
            return Match.NONE, {}
        return super().matches(scope)


async def _lost(request: Request) -> Response:
    """The page for a browser; one sentence as JSON for anything else. Raises Refusal."""
    words = Words(_locale(request))
    if "text/html" not in request.headers.get("accept", ""):
        raise Refusal(404, "no_such_page", f"{words.t('lost.title')}.")
    html = _PAGE.format(
        locale=words.locale,
        name=words.t("app.name"),
        title=words.t("lost.title"),
        text=words.t("lost.text"),
        way=words.t("lost.home"),
        home=escape(request.scope.get("root_path", "").rstrip("/") + "/", quote=True),
    )
    return Response(html, status_code=404, media_type="text/html", headers={"cache-control": "no-store"})


def _locale(request: Request) -> str:
    """The language chosen on the page, else the first that the browser asks for and we have."""
    accepted = request.headers.get("accept-language", "")[:200].split(",")
    return best_locale(request.cookies.get(LOCALE_COOKIE), *(each.split(";")[0].strip() for each in accepted))
