"""The browser behind this session: its owner, its connection, its language and its time zone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import unquote, urljoin, urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from shared.audit.readings import Reading
from shared.logs import HTTP_REQUEST_ID
from shared.people import Owner
from shared.words import best_locale
from web.asgi.address import CLIENT_HEADER
from web.asgi.cookies import Verdict
from web.asgi.http_id import HEADER
from web.asgi.identity import OWNER_HEADER, PERSON_HEADER, ROLE_HEADER, SESSION_HEADER, VERDICT_HEADER
from web.state import keys


def has_browser() -> bool:
    """Whether a browser requested this page. A liveness check (web/liveness.py) is not a browser."""
    return bool(st.context.headers)


def owner() -> Owner | None:
    """Return the owner of this session and its connection; None for a browser without a valid cookie.

    Streamlit gives a session only to its owner. Should that ever fail, this clears the session for another owner.
    """
    bound = st.user.get(keys.OWNER)
    if bound != st.context.headers.get(OWNER_HEADER):
        st.session_state.clear()
        return None
    return Owner.from_key(bound) if isinstance(bound, str) else None


def verdict() -> Verdict:
    """Return why there is an owner, or none."""
    try:
        return Verdict(st.context.headers.get(VERDICT_HEADER) or Verdict.MISSING)
    except ValueError:
        return Verdict.MISSING


def person() -> str:
    """Return the signed-in person's e-mail address or name; "" for a guest."""
    return unquote(st.context.headers.get(PERSON_HEADER) or "")


def was_read(ask: Callable[[], Sequence[Reading]]) -> Sequence[Reading]:
    """Return what `ask` says, which is called once per session: how somebody else has read the owner's chats."""
    if keys.WAS_READ not in st.session_state:
        st.session_state[keys.WAS_READ] = ask()
    found: Sequence[Reading] = st.session_state[keys.WAS_READ]
    return found


def forget_readings() -> None:
    """Let the session ask again who has read the chats. Call this from a callback only."""
    st.session_state.pop(keys.WAS_READ, None)


def session_id() -> UUID | None:
    """Return the id of the signed-in person's session; None for a guest. Whether it still lives, the database knows."""
    try:
        return UUID(st.context.headers.get(SESSION_HEADER) or "")
    except ValueError:
        return None


def role() -> str:
    """Return the role that the session had when the page connected, "" for a guest: for what to offer, not to allow."""
    return st.context.headers.get(ROLE_HEADER) or ""


def address(path: str) -> str:
    """Return the address of a path of ours, as this browser reaches the page."""
    page = urlsplit(st.context.url or "")
    return urljoin(f"{page.scheme}://{page.netloc}{page.path.rstrip('/')}/", path)


def client() -> str:
    """Return the browser's address as limits count it; "" without our ASGI app."""
    return st.context.headers.get(CLIENT_HEADER) or ""


def log_ids() -> dict[str, str]:
    """Return the log fields of this browser's WebSocket, which script threads do not have by themselves."""
    found = st.context.headers.get(HEADER)
    return {HTTP_REQUEST_ID: found} if found else {}


def has_routes() -> bool:
    """Whether the page runs in our ASGI app, unlike in a plain `streamlit run`."""
    return HEADER in st.context.headers


def held() -> list[tuple[str, str]]:
    """Return the names of the session's values and the types of these, for the debug panel."""
    return sorted((str(name), type(value).__name__) for name, value in st.session_state.items())


def locale() -> str:
    """Return the language: the one chosen on the page or earlier, or else the browser's."""
    return best_locale(locale_choice(), st.context.locale)


def locale_choice() -> str | None:
    """Return the language that the person chose, if any."""
    return st.session_state.get(keys.LOCALE) or st.context.cookies.get(keys.LOCALE_COOKIE)


def choose_locale() -> None:
    """Record the chosen language. Call this from the switch's callback only."""
    st.session_state[keys.LOCALE] = st.session_state.get(keys.LANGUAGE)


def timezone() -> ZoneInfo:
    """Return the browser's time zone, or UTC."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
