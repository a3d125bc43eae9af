"""The page's conversation and the sidebar's list, as last read."""

from __future__ import annotations

from uuid import UUID, uuid4

import streamlit as st

from shared.conversations import Opened
from shared.people import Owner
from web.state import keys
from web.state.values import Listed


def conversation_id() -> UUID:
    """Return the id in the address, or else that of a new conversation.

    The address has `?c=` for a stored conversation, and `?new=` for one without questions.
    """
    found: UUID
    if is_gone():
        found = st.session_state[keys.INSTEAD]
    elif (asked := asked_id()) is None:
        # The browser has not put the new conversation into the address yet.
        found = st.session_state.get(keys.CONVERSATION) or _fresh_id()
    else:
        found = _uuid_of(asked) or _fresh_id()
    if st.session_state.get(keys.CONVERSATION) != found:
        _forget_page()
        for key in (keys.KEY, keys.RETURNED, keys.UNSURE, keys.FATE):
            st.session_state.pop(key, None)
        st.session_state[keys.CONVERSATION] = found
    return found


def _forget_page() -> None:
    for key in (keys.ACCEPTED, keys.WINDOW_SIZE, keys.OPENED, keys.DIALOG, keys.MODEL, keys.MENU, *keys.OF_TUNING):
        st.session_state.pop(key, None)


def asked_id() -> str | None:
    """Return the id in the address, well formed or not; None if there is none."""
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
    """Whether the address may name a conversation without questions."""
    return "c" not in st.query_params


def is_gone() -> bool:
    """Whether the conversation in the address cannot be shown."""
    return asked_id() is not None and st.session_state.get(keys.GONE) == asked_id()


def give_up_conversation() -> None:
    """Switch to a new conversation, because the one in the address cannot be shown.

    The key of the question being written, and a refused question, are kept.
    """
    st.session_state[keys.GONE], st.session_state[keys.INSTEAD] = asked_id(), _fresh_id()
    _forget_page()
    st.session_state[keys.CONVERSATION] = _fresh_id()


def settle_address() -> None:
    """Put the new conversation into the address, in place of one that was gone."""
    if is_gone():
        st.query_params.from_dict({"c": str(conversation_id())})


def _fresh_id() -> UUID:
    """Return the id of the next new conversation, which changes once its first question is stored."""
    found: UUID = st.session_state.setdefault(keys.FRESH, uuid4())
    return found


def came_back() -> str | None:
    """Return the browser's mark of a returned connection, in the run that it requested then."""
    mark = str(getattr(st.session_state.get(keys.LIVE), "started", None))
    return mark if keys.BACK_FORM.fullmatch(mark) else None


def follow_link() -> None:
    """Open the conversation whose link was clicked. Call this from the live answer's callback only."""
    asked = getattr(st.session_state.get(keys.LIVE), "opened", None)
    if asked == "new":
        leave_conversation()
    elif asked:
        st.query_params.from_dict({"c": str(asked)})


def leave_conversation() -> None:
    """Open a new chat."""
    st.query_params.from_dict({"new": str(_fresh_id())})


def window() -> int:
    """Return how many messages of the branch are shown."""
    return int(st.session_state.get(keys.WINDOW_SIZE, keys.WINDOW))


def widen_window() -> None:
    """Double the number of messages shown, so that five steps reach the first of 500."""
    st.session_state[keys.WINDOW_SIZE] = window() * 2


def remember(opened: Opened) -> None:
    """Keep the conversation as last read, for times without Postgres."""
    st.session_state[keys.OPENED] = opened


def remembered(conversation_id: UUID) -> Opened | None:
    """Return this conversation as last read."""
    found: Opened | None = st.session_state.get(keys.OPENED)
    return found if found is not None and found.id == conversation_id else None


def listed(owner: Owner) -> Listed:
    """Return the sidebar's list as last read for this owner."""
    found: Listed | None = st.session_state.get(keys.LISTED)
    return found if found is not None and found.owner == owner else Listed()


def remember_list(listed: Listed) -> None:
    """Keep the list for later runs, and for times without Postgres."""
    st.session_state[keys.LISTED] = listed
