"""What the page remembers: every key of `session_state`, `query_params` and the page's cookies, here and nowhere
else.

All of it is a cache. The truth is the conversation's id in the address, the browser's signed cookie, and
Postgres. Widgets are read through here too, because Streamlit keeps their values under the same roof.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from shared.conversations import ConversationRow, Opened
from shared.logs import HTTP_REQUEST_ID
from web.asgi.address import CLIENT_HEADER
from web.cookies import Verdict
from web.http_id import HEADER
from web.identity import OWNER_HEADER, VERDICT_HEADER
from web.words import best_locale

#: Keys of widgets: their values are Streamlit's, their names are ours.
LIVE = "live"
COMPOSER = "composer"
MODEL = "model"
LANGUAGE = "language"
MENU = "conversation-menu"
TITLE = "conversation-title"

#: Under this name `st.user` has the owner that Streamlit bound the session to when it began (web/app.py).
OWNER = "naru_owner"
LOCALE_COOKIE = "naru_locale"
WINDOW = 30

#: An idempotency key as it is made here.
KEY_FORM = re.compile("[0-9a-f]{32}")

Dialog = Literal["rename", "delete"]

_CONVERSATION = "naru.conversation"
_KEY = "naru.idempotency_key"
_WINDOW = "naru.window"
_NOTICE = "naru.notice"
_DIALOG = "naru.dialog"
_OPENED = "naru.opened"
_ACCEPTED = "naru.accepted"
_RETURNED = "naru.returned"
_UNSURE = "naru.unsure"
_FATE = "naru.fate"
_SESSION = "naru.session"
_LOCALE = "naru.locale"
_LISTED = "naru.listed"


@dataclass(frozen=True, slots=True)
class Notice:
    """One sentence for the person, by its code; `incident_id` is what an operator can look up."""

    code: str
    values: dict[str, Any] = field(default_factory=dict)
    incident_id: str = ""
    is_text_kept: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """The sidebar's list as it was last read, down to where the person has scrolled."""

    owner_id: str = ""
    rows: tuple[ConversationRow, ...] = ()
    has_more: bool = False
    #: The last try to read it failed: Postgres was away.
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of the questions of this page, as `live/sent.js` reads it. All of it stays until the next question:
    a run that is cut short loses nothing."""

    key: str
    session: str
    accepted: str | None
    returned: dict[str, Any] | None
    fate: dict[str, Any] | None


def has_browser() -> bool:
    """Whether a browser asks for this page; False for a run that only checks that pages run (web/liveness.py)."""
    return bool(st.context.headers)


def owner() -> str | None:
    """The owner of this session and of the connection that it runs for; None for a browser without a good cookie.

    Streamlit gives a session to nobody but its owner. Should it ever fail to, this is the second wall: another owner's
    connection finds nothing of what the session held.
    """
    bound = st.user.get(OWNER)
    if bound != st.context.headers.get(OWNER_HEADER):
        st.session_state.clear()
        return None
    return bound if isinstance(bound, str) else None


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
    return st.session_state.get(_LOCALE) or st.context.cookies.get(LOCALE_COOKIE)


def choose_locale() -> None:
    """The person has used the switch. Only from its callback."""
    st.session_state[_LOCALE] = st.session_state.get(LANGUAGE)


def timezone() -> ZoneInfo:
    """The browser's time zone."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def conversation_id() -> UUID | None:
    """The conversation in the address; a new one gets its id, and the address, here. None: the address is nonsense."""
    asked = st.query_params.get("c")
    if asked is None:
        found = uuid4()
        st.query_params["c"] = str(found)
    else:
        try:
            found = UUID(asked)
        except ValueError:
            return None
    if st.session_state.get(_CONVERSATION) != found:
        st.session_state[_CONVERSATION] = found
        for key in (_KEY, _ACCEPTED, _RETURNED, _UNSURE, _FATE, _WINDOW, _OPENED, MODEL, MENU):
            st.session_state.pop(key, None)
    return found


def follow_link() -> None:
    """Open the conversation whose link was clicked. Only from the live answer's callback."""
    asked = getattr(st.session_state.get(LIVE), "opened", None)
    if asked == "new":
        leave_conversation()
    elif asked:
        st.query_params["c"] = str(asked)


def leave_conversation() -> None:
    """Go to a new chat, in one step: an address without an id between the two would catch who goes back."""
    st.query_params["c"] = str(uuid4())


def idempotency_key() -> str:
    """The key of the question that is being written: the same until it is accepted."""
    return str(st.session_state.setdefault(_KEY, uuid4().hex))


def renew_idempotency_key() -> None:
    """The question was accepted: the next one is another."""
    st.session_state[_ACCEPTED] = idempotency_key()
    st.session_state[_KEY] = uuid4().hex


def composed() -> str:
    """What was sent from the composer in this run."""
    return str(st.session_state.get(COMPOSER) or "")


def put_back(text: str) -> None:
    """Give a refused question back to the browser, which puts it into the composer.

    Not by the widget's own value: Streamlit keeps that for one run, and a run may be cut short before it draws.
    """
    st.session_state[_RETURNED] = {"id": uuid4().hex, "text": text}


def ask_for_fate() -> None:
    """The browser asks what became of a question. Only from the live answer's callback."""
    asked = str(getattr(st.session_state.get(LIVE), "unsure", None) or "")
    if KEY_FORM.fullmatch(asked):
        st.session_state[_UNSURE] = asked


def unsure_key() -> str | None:
    """The key whose fate the browser asks for, until it is known."""
    return st.session_state.get(_UNSURE)


def tell_fate(key: str, *, is_stored: bool) -> None:
    """It is known now. One that was not stored keeps its key: should it be stored late, asking again finds it."""
    st.session_state.pop(_UNSURE, None)
    st.session_state[_FATE] = {"key": key, "is_stored": is_stored}
    if not is_stored:
        st.session_state[_KEY] = key


def question() -> Asked:
    """What the browser is told of its questions in this run."""
    return Asked(
        key=idempotency_key(),
        session=st.session_state.setdefault(_SESSION, uuid4().hex),
        accepted=st.session_state.get(_ACCEPTED),
        returned=st.session_state.get(_RETURNED),
        fate=st.session_state.get(_FATE),
    )


def chosen_model() -> str:
    """The model in the picker; empty when there is nothing to pick."""
    return str(st.session_state.get(MODEL) or "")


def offer_model(name: str) -> None:
    """What the picker shows until the person picks."""
    if st.session_state.get(MODEL) is None:
        st.session_state[MODEL] = name


def chosen_menu_item() -> str | None:
    """What was picked in the conversation's menu in this run."""
    return st.session_state.get(MENU)


def typed_title() -> str:
    """What stands in the rename dialog."""
    return str(st.session_state.get(TITLE) or "")


def window() -> int:
    """How many messages of the branch are shown."""
    return int(st.session_state.get(_WINDOW, WINDOW))


def widen_window() -> None:
    """Show thirty more."""
    st.session_state[_WINDOW] = window() + WINDOW


def show_notice(notice: Notice) -> None:
    """Keep a sentence for the coming run."""
    st.session_state[_NOTICE] = notice


def take_notice() -> Notice | None:
    """The sentence to show now; it is shown once."""
    notice: Notice | None = st.session_state.pop(_NOTICE, None)
    return notice


def ask_for(dialog: Dialog) -> None:
    """Open this dialog in the coming run."""
    st.session_state[_DIALOG] = dialog


def is_dialog_asked_for() -> bool:
    """Whether the coming whole run opens a dialog."""
    return _DIALOG in st.session_state


def take_dialog() -> Dialog | None:
    """The dialog to open now."""
    dialog: Dialog | None = st.session_state.pop(_DIALOG, None)
    return dialog


def remember(opened: Opened) -> None:
    """Keep what was last read, for the time when Postgres does not answer."""
    st.session_state[_OPENED] = opened


def remembered(conversation_id: UUID) -> Opened | None:
    """What was last read of this conversation."""
    found: Opened | None = st.session_state.get(_OPENED)
    return found if found is not None and found.id == conversation_id else None


def listed(owner_id: str) -> Listed:
    """The sidebar's list, as far as it was read for this owner."""
    found: Listed | None = st.session_state.get(_LISTED)
    return found if found is not None and found.owner_id == owner_id else Listed()


def remember_list(listed: Listed) -> None:
    """Keep the list for the runs to come, and for the time when Postgres does not answer."""
    st.session_state[_LISTED] = listed
