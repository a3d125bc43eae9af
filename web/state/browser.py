"""The browser behind this session: its owner, its connection, its language and its time zone."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from shared.logs import HTTP_REQUEST_ID
from shared.people import Owner
from shared.words import best_locale
from web.asgi.address import CLIENT_HEADER
from web.asgi.cookies import Verdict
from web.asgi.http_id import HEADER
from web.asgi.identity import OWNER_HEADER, VERDICT_HEADER
from web.state import keys


def has_browser() -> bool:
    """Whether a browser asks for this page; False for a run that only checks that pages run (web/liveness.py)."""
    return bool(st.context.headers)


def owner() -> Owner | None:
    """The owner of this session and of the connection that it runs for; None for a browser without a good cookie.

    Streamlit gives a session to nobody but its owner. Should it ever fail to, this is the second wall: another owner's
    connection finds nothing of what the session held.
    """
    bound = st.user.get(keys.OWNER)
    if bound != st.context.headers.get(OWNER_HEADER):
        st.session_state.clear()
        return None
    return Owner.from_key(bound) if isinstance(bound, str) else None


def is_cookie_unusable() -> bool:
    """Whether there is no owner because the browser's cookie is forged or comes twice."""
    return st.context.headers.get(VERDICT_HEADER) in {Verdict.FORGED, Verdict.DOUBLED}


def client() -> str:
    """The address of this browser's connection, as limits count it; empty without our ASGI app around the page."""
    return st.context.headers.get(CLIENT_HEADER) or ""


def log_ids() -> dict[str, str]:
    """What a log line says of this browser's connection: the id of its WebSocket. Script threads know nothing of it."""
    found = st.context.headers.get(HEADER)
    return {HTTP_REQUEST_ID: found} if found else {}


def has_routes() -> bool:
    """Whether the page runs in our ASGI app; not so in a plain `streamlit run`."""
    return HEADER in st.context.headers


def locale() -> str:
    """The language: chosen on the page, else chosen earlier, else the browser's."""
    return best_locale(locale_choice(), st.context.locale)


def locale_choice() -> str | None:
    """The language that the person chose, if they did."""
    return st.session_state.get(keys.LOCALE) or st.context.cookies.get(keys.LOCALE_COOKIE)


def choose_locale() -> None:
    """The person has used the switch. Only from its callback."""
    st.session_state[keys.LOCALE] = st.session_state.get(keys.LANGUAGE)


def timezone() -> ZoneInfo:
    """The browser's time zone."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")
