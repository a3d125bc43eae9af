"""GET /, /early.js and /favicon.png: what the browser has before Streamlit has drawn anything.

The page is Streamlit's own, with our name in it, without the font that we do not use, and with the script that shows a
running answer's text at once after a reload (`web/live/early.js`).
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha256
from pathlib import Path

import streamlit
from starlette.requests import Request
from starlette.responses import Response

from web.live.modules import early_bundle

WEB = Path(__file__).parents[1]
#: Asked for with the hash of what it holds.
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}
_FOR_A_DAY = {"cache-control": "public, max-age=86400"}
_UNUSED_FONT = re.compile(r"<link\s+rel=\"preload\"[^>]*/SourceSans[^>]*>\s*")


async def page(request: Request) -> Response:
    """The page; 304 for a browser that has it."""
    headers = {"cache-control": "no-cache", "etag": f'"{_hash(_page())}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(_page(), media_type="text/html", headers=headers)


async def early(_: Request) -> Response:
    """The script that listens before Streamlit does."""
    return Response(_early(), media_type="text/javascript", headers=_FOR_EVER)


async def icon(_: Request) -> Response:
    """The icon, under the name that Streamlit gives it: told of another one, it would import numpy to look at it."""
    return Response(_icon(), media_type="image/svg+xml", headers=_FOR_A_DAY)


@cache
def _page() -> str:
    html = (Path(streamlit.__file__).with_name("static") / "index.html").read_text(encoding="utf-8")
    html = _UNUSED_FONT.sub("", html).replace("<title>Streamlit</title>", "<title>Naru</title>")
    # Before Streamlit's own: modules run in the order in which they stand here.
    return html.replace(
        "<title>", f'<script type="module" src="./early.js?v={_hash(_early())}"></script>\n    <title>', 1
    )


@cache
def _early() -> str:
    return early_bundle()


@cache
def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


@cache
def _icon() -> bytes:
    return (WEB / "static" / "icon.svg").read_bytes()
