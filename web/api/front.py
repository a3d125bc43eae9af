"""GET /, /page.css, our scripts and /favicon.png: the files that the browser needs before Streamlit draws.

`web/shell/` makes their content.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from shared.words import best_locale
from web.api.people.forms import go_to
from web.api.people.places import place_of
from web.asgi.cookies import Verdict
from web.asgi.identity import verdict_in
from web.asgi.representation import REVALIDATE, FixedContent
from web.shell.document import colours_script, document, early_script, live_script, page_css, shell_script
from web.state import LOCALE_COOKIE

WEB = Path(__file__).parents[1]
_FOR_A_DAY = "public, max-age=86400"


async def page(request: Request) -> Response:
    """Serve the page, in the language that Streamlit's first run will choose; the sign-in to who is signed out."""
    if verdict_in(request.scope) is Verdict.SIGNED_OUT:
        return go_to(request, "/sign-in", back=place_of(request.query_params))
    browsers = request.headers.get("accept-language", "").partition(",")[0]
    locale = best_locale(request.cookies.get(LOCALE_COOKIE), browsers)
    held = document(locale, is_conversation=_is_id(request.query_params.get("c", "")))
    return held.answer(request, cache_control=REVALIDATE)


async def stylesheet(request: Request) -> Response:
    """Serve Streamlit's stylesheet with our fonts."""
    return page_css().answer(request)


async def early(request: Request) -> Response:
    """Serve the script that opens the event stream before Streamlit starts."""
    return early_script().answer(request)


async def shell(request: Request) -> Response:
    """Serve the script for everything around the conversation."""
    return shell_script().answer(request)


async def live(request: Request) -> Response:
    """Serve the live answer's module."""
    return live_script().answer(request)


async def colours(request: Request) -> Response:
    """Serve the module that colours the live answer's code."""
    return colours_script().answer(request)


async def icon(request: Request) -> Response:
    """Serve the icon under Streamlit's default name; with another one, Streamlit would import numpy to read it."""
    return _icon().answer(request, cache_control=_FOR_A_DAY)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


@cache
def _icon() -> FixedContent:
    return FixedContent((WEB / "static" / "icon.svg").read_text(encoding="utf-8"), "image/svg+xml")
