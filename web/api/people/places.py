"""Where a sign-in leads back to: a chat, by its id, or one of our pages, by its name.

It is never an address or a path, so no link to the sign-in can lead to another site.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from web.state import ADMIN_PAGE, ADMIN_PARTS

ACCOUNT, FACTOR, USAGE, EVERYONE, AUDIT = "account", "factor", "usage", "everyone", "audit"
#: The paths of our pages. The parts of the page for administrators follow below.
_PATHS = {
    ACCOUNT: "/account",
    FACTOR: "/account/factor",
    USAGE: "/usage",
    EVERYONE: "/usage/everyone",
    AUDIT: "/audit",
    ADMIN_PAGE: f"/?page={ADMIN_PAGE}",
    **{f"{ADMIN_PAGE}-{part}": f"/?page={ADMIN_PAGE}&part={part}" for part in ADMIN_PARTS},
}


def back_in(values: Mapping[str, str]) -> str:
    """Return the place that a form or an address names under `c`: an id, a name of ours, or ""."""
    given = values.get("c", "")
    return given if given in _PATHS else _id_in(given)


def place_of(query: Mapping[str, str]) -> str:
    """Return the place that a query of the page `/` shows: an id, a name of ours, or ""."""
    if query.get("page") != ADMIN_PAGE:
        return _id_in(query.get("c", ""))
    part = f"{ADMIN_PAGE}-{query.get('part', '')}"
    return part if part in _PATHS else ADMIN_PAGE


def path_back(place: str) -> str:
    """Return the path and query of a place; "/" for none."""
    return _PATHS.get(place) or (f"/?c={place}" if place else "/")


def _id_in(given: str) -> str:
    try:
        return str(UUID(given))
    except ValueError:
        return ""
