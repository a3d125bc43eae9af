"""GET /favicon.png: what the browser asks for before Streamlit has drawn anything."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

WEB = Path(__file__).parents[1]


async def icon(_: Request) -> Response:
    """The icon, under the name that Streamlit gives it: told of another one, it would import numpy to look at it."""
    return Response(_icon(), media_type="image/svg+xml", headers={"cache-control": "public, max-age=86400"})


@cache
def _icon() -> bytes:
    return (WEB / "static" / "icon.svg").read_bytes()
