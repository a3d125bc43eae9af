"""What the page remembers: every key of `session_state`, `query_params` and the page's cookies, here and nowhere
else.

All of it is a cache. The truth is the conversation's id in the address, the browser's signed cookie, and
Postgres. Widgets are read through here too, because Streamlit keeps their values under the same roof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from shared.conversations import Opened
from shared.logs import HTTP_REQUEST_ID
from web.asgi.address import CLIENT_HEADER
from web.cookies import Verdict
from web.http_id import HEADER
from web.identity import OWNER_HEADER, VERDICT_HEADER
from web.state_values import Asked, Decision, Dialog, DialogKind, Listed, Notice
from web.words import best_locale

#: Keys of widgets: their values are Streamlit's, their names are ours.
LIVE = "live"
COMPOSER = "composer"
MODEL = "model"
LANGUAGE = "language"
MENU = "conversation-menu"

#: Under this name `st.user` has the owner that Streamlit bound the session to when it began (web/app.py).
OWNER = "naru_owner"
LOCALE_COOKIE = "naru_locale"
WINDOW = 30

#: An idempotency key as it is made here.
KEY_FORM = re.compile("[0-9a-f]{32}")
#: A returned connection, as `live/connection.js` names it.
BACK_FORM = re.compile("back [0-9]{1,20}")

_CONVERSATION = "naru.conversation"
_FRESH = "naru.fresh"
_GONE = "naru.gone"
_INSTEAD = "naru.instead"
_KEY = "naru.idempotency_key"
_WINDOW = "naru.window"
_NOTICE = "naru.notice"
_DIALOG = "naru.dialog"
_WHOLE_PAGE = "naru.whole_page"
_DECIDED = "naru.decided"
_OPENED = "naru.opened"
_ACCEPTED = "naru.accepted"
_RETURNED = "naru.returned"
_UNSURE = "naru.unsure"
_FATE = "naru.fate"
_SESSION = "naru.session"
_LOCALE = "naru.locale"
_LISTED = "naru.listed"


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


def conversation_id() -> UUID:
    """The conversation that the page works on: the one in the address, or a new one where that names none.

    An address says `?c=` for a conversation that was stored, and `?new=` for one that has no question yet.
    """
    found: UUID
    if is_gone():
        found = st.session_state[_INSTEAD]
    elif (asked := asked_id()) is None:
        # The browser has not named the new conversation yet.
        found = st.session_state.get(_CONVERSATION) or _fresh_id()
    else:
        found = _uuid_of(asked) or _fresh_id()
    if st.session_state.get(_CONVERSATION) != found:
        _forget_page()
        for key in (_KEY, _RETURNED, _UNSURE, _FATE):
            st.session_state.pop(key, None)
        st.session_state[_CONVERSATION] = found
    return found


def _forget_page() -> None:
    for key in (_ACCEPTED, _WINDOW, _OPENED, _DIALOG, MODEL, MENU):
        st.session_state.pop(key, None)


def asked_id() -> str | None:
    """What the address names, well formed or not; None when it names nothing."""
    for name in ("c", "new"):
        if (found := st.query_params.get(name)) is not None:
            return str(found)
    return None


def _uuid_of(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


def is_fresh() -> bool:
    """Whether the address allows for a conversation that has no question yet."""
    return "c" not in st.query_params


def is_gone() -> bool:
    """Whether the address names a conversation that cannot be shown."""
    return asked_id() is not None and st.session_state.get(_GONE) == asked_id()


def give_up_conversation() -> None:
    """The conversation in the address cannot be shown: from now on the page works on a new one.

    The key of the question that is being written, and one that was refused, stay with the page.
    """
    st.session_state[_GONE], st.session_state[_INSTEAD] = asked_id(), _fresh_id()
    _forget_page()
    st.session_state[_CONVERSATION] = _fresh_id()


def settle_address() -> None:
    """Name the conversation that began where another one was gone."""
    if is_gone():
        st.query_params.from_dict({"c": str(conversation_id())})


def _fresh_id() -> UUID:
    """The id of the next new conversation: the same until its first question is stored."""
    found: UUID = st.session_state.setdefault(_FRESH, uuid4())
    return found


def came_back() -> str | None:
    """What the browser calls the moment at which its connection came back, in the run that it asked for then."""
    mark = str(getattr(st.session_state.get(LIVE), "started", None))
    return mark if BACK_FORM.fullmatch(mark) else None


def follow_link() -> None:
    """Open the conversation whose link was clicked. Only from the live answer's callback."""
    asked = getattr(st.session_state.get(LIVE), "opened", None)
    if asked == "new":
        leave_conversation()
    elif asked:
        st.query_params.from_dict({"c": str(asked)})


def leave_conversation() -> None:
    """Go to a new chat."""
    st.query_params.from_dict({"new": str(_fresh_id())})


def idempotency_key() -> str:
    """The key of the question that is being written: the same until it is accepted."""
    return str(st.session_state.setdefault(_KEY, uuid4().hex))


def renew_idempotency_key() -> None:
    """The question was accepted: the next one is another."""
    st.session_state[_ACCEPTED] = idempotency_key()
    st.session_state[_KEY] = uuid4().hex
    st.session_state.pop(_WINDOW, None)  # the end of the conversation is what is looked at now
    if st.session_state.get(_FRESH) == st.session_state.get(_CONVERSATION):
        st.session_state.pop(_FRESH, None)


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


def window() -> int:
    """How many messages of the branch are shown."""
    return int(st.session_state.get(_WINDOW, WINDOW))


def widen_window() -> None:
    """Show twice as many: five steps lead to the first of 500."""
    st.session_state[_WINDOW] = window() * 2


def show_notice(notice: Notice) -> None:
    """Keep a sentence for the coming run."""
    st.session_state[_NOTICE] = notice


def take_notice() -> Notice | None:
    """The sentence to show now; it is shown once."""
    notice: Notice | None = st.session_state.pop(_NOTICE, None)
    return notice


def ask_for_dialog(kind: DialogKind) -> None:
    """Show this dialog from the coming run on."""
    st.session_state[_DIALOG] = Dialog(uuid4().hex, kind, conversation_id())
    ask_for_whole_page()


def ask_for_whole_page() -> None:
    """Have a fragment's run followed by one of the whole page."""
    st.session_state[_WHOLE_PAGE] = True


def take_whole_page() -> bool:
    """Whether the whole page was asked for since this was last called."""
    return bool(st.session_state.pop(_WHOLE_PAGE, False))


def dialog() -> Dialog | None:
    """The dialog that was asked for last. The browser shows each once, and keeps it over every run."""
    found: Dialog | None = st.session_state.get(_DIALOG)
    return found


def decision() -> Decision | None:
    """What was decided in the last dialog. Only from the live answer's callback."""
    said, asked = getattr(st.session_state.get(LIVE), "decided", None), dialog()
    if asked is None or not isinstance(said, Mapping) or said.get("id") != asked.id:
        return None
    return Decision(asked, str(said.get("title") or ""))


def end_dialog(asked: Dialog, *, error: str) -> None:
    """Tell the browser how it ended; with an error it stays open and shows it."""
    st.session_state[_DECIDED] = {"id": asked.id, "error": error, "try": uuid4().hex}


def decided() -> dict[str, str] | None:
    """How the last dialog ended."""
    found: dict[str, str] | None = st.session_state.get(_DECIDED)
    return found


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
