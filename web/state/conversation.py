"""The conversation that the page works on, and what was last read of it and of the list."""

from __future__ import annotations

from uuid import UUID, uuid4

import streamlit as st

from shared.conversations import Opened
from shared.people import Owner
from web.state import keys
from web.state.values import Listed


def conversation_id() -> UUID:
    """The conversation that the page works on: the one in the address, or a new one where that names none.

    An address says `?c=` for a conversation that was stored, and `?new=` for one that has no question yet.
    """
    found: UUID
    if is_gone():
        found = st.session_state[keys.INSTEAD]
    elif (asked := asked_id()) is None:
        # The browser has not named the new conversation yet.
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
    for key in (keys.ACCEPTED, keys.WINDOW_SIZE, keys.OPENED, keys.DIALOG, keys.MODEL, keys.MENU):
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
    return asked_id() is not None and st.session_state.get(keys.GONE) == asked_id()


def give_up_conversation() -> None:
    """The conversation in the address cannot be shown: from now on the page works on a new one.

    The key of the question that is being written, and one that was refused, stay with the page.
    """
    st.session_state[keys.GONE], st.session_state[keys.INSTEAD] = asked_id(), _fresh_id()
    _forget_page()
    st.session_state[keys.CONVERSATION] = _fresh_id()


def settle_address() -> None:
    """Name the conversation that began where another one was gone."""
    if is_gone():
        st.query_params.from_dict({"c": str(conversation_id())})


def _fresh_id() -> UUID:
    """The id of the next new conversation: the same until its first question is stored."""
    found: UUID = st.session_state.setdefault(keys.FRESH, uuid4())
    return found


def came_back() -> str | None:
    """What the browser calls the moment at which its connection came back, in the run that it asked for then."""
    mark = str(getattr(st.session_state.get(keys.LIVE), "started", None))
    return mark if keys.BACK_FORM.fullmatch(mark) else None


def follow_link() -> None:
    """Open the conversation whose link was clicked. Only from the live answer's callback."""
    asked = getattr(st.session_state.get(keys.LIVE), "opened", None)
    if asked == "new":
        leave_conversation()
    elif asked:
        st.query_params.from_dict({"c": str(asked)})


def leave_conversation() -> None:
    """Go to a new chat."""
    st.query_params.from_dict({"new": str(_fresh_id())})


def window() -> int:
    """How many messages of the branch are shown."""
    return int(st.session_state.get(keys.WINDOW_SIZE, keys.WINDOW))


def widen_window() -> None:
    """Show twice as many: five steps lead to the first of 500."""
    st.session_state[keys.WINDOW_SIZE] = window() * 2


def remember(opened: Opened) -> None:
    """Keep what was last read, for the time when Postgres does not answer."""
    st.session_state[keys.OPENED] = opened


def remembered(conversation_id: UUID) -> Opened | None:
    """What was last read of this conversation."""
    found: Opened | None = st.session_state.get(keys.OPENED)
    return found if found is not None and found.id == conversation_id else None


def listed(owner: Owner) -> Listed:
    """The sidebar's list, as far as it was read for this owner."""
    found: Listed | None = st.session_state.get(keys.LISTED)
    return found if found is not None and found.owner == owner else Listed()


def remember_list(listed: Listed) -> None:
    """Keep the list for the runs to come, and for the time when Postgres does not answer."""
    st.session_state[keys.LISTED] = listed
