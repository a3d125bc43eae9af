"""GET /manifest.json and /favicon.ico, which browsers request beside the page.

The manifest has a name, a start URL, an icon and a colour. Naru does not work offline, and has no service worker.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

ICON = Path(__file__).parents[1] / "static" / "favicon.ico"
_FOR_A_DAY = {"cache-control": "public, max-age=86400"}

#: https://www.w3.org/TR/appmanifest/; addresses are relative to the manifest's own.
MANIFEST = {
    "name": "Naru",
    "short_name": "Naru",
    "id": "./",
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#ffffff",
    "theme_color": "#0b6e69",
    "icons": [{"src": "./favicon.png", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}],
}


async def manifest(_: Request) -> Response:
    """Serve the web app manifest."""
    return JSONResponse(MANIFEST, media_type="application/manifest+json", headers=_FOR_A_DAY)


async def favicon(_: Request) -> Response:
    """Serve the icon for clients that read no SVG, such as bookmarks and link previews."""
    return Response(_icon(), media_type="image/x-icon", headers=_FOR_A_DAY)


@cache
def _icon() -> bytes:
    return ICON.read_bytes()
