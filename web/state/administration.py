"""The state of the page for administrators: address, open rows, the pending question and the last result."""

from __future__ import annotations

from uuid import UUID, uuid4

import streamlit as st

from web.state import keys
from web.state.values import Told, Wish

#: The pages beside the chat, by the value of `?page=`.
ADMIN_PAGE = "admin"
#: Its parts, by the value of `&part=`.
ADMIN_PARTS = ("live", "use", "people", "models", "banner")


def page() -> str:
    """Return the page in the address; "" for the chat."""
    return str(st.query_params.get("page", ""))


def part(parts: tuple[str, ...]) -> str:
    """Return the part of the page to show: the one chosen, or in the address, or the first of `parts`."""
    asked = st.session_state.get(keys.ADMIN_PART) or st.query_params.get("part")
    return asked if asked in parts else parts[0]


def note_part() -> None:
    """Put the chosen part into the address, and forget what the last one asked. Call this from its switch only."""
    st.query_params["part"] = str(st.session_state.get(keys.ADMIN_PART))
    forget_wish()
    tell(None)


def chosen(key: str, default: str) -> str:
    """Return the value of one of the page's switches or boxes."""
    return str(st.session_state.get(key) or default)


def clear(*names: str) -> None:
    """Empty these boxes. Call this from a callback only."""
    for name in names:
        st.session_state[name] = ""


def open_request(request_id: UUID | None) -> None:
    """Show the timeline of this request, or of none."""
    st.session_state[keys.ADMIN_REQUEST] = request_id


def opened_request() -> UUID | None:
    """Return the request whose timeline is shown."""
    found: UUID | None = st.session_state.get(keys.ADMIN_REQUEST)
    return found


def open_person(person_id: UUID | None) -> None:
    """Show this person, or nobody."""
    st.session_state[keys.ADMIN_PERSON] = person_id


def opened_person() -> UUID | None:
    """Return the person who is shown."""
    found: UUID | None = st.session_state.get(keys.ADMIN_PERSON)
    return found


def wish(new: Wish) -> None:
    """Ask whether this is to be done."""
    st.session_state[keys.ADMIN_WISH] = new
    tell(None)


def wished() -> Wish | None:
    """Return what is to be confirmed."""
    found: Wish | None = st.session_state.get(keys.ADMIN_WISH)
    return found


def forget_wish() -> None:
    """Do not ask any more."""
    st.session_state.pop(keys.ADMIN_WISH, None)


def tell(sentence: str | None, *, is_error: bool = False, link: str = "", near: str = "") -> None:
    """Show what has happened until the next action; `link` is to be copied, and `near` names the form it is about."""
    told = None if sentence is None else Told(sentence, is_error=is_error, link=link, id=uuid4().hex, near=near)
    st.session_state[keys.ADMIN_TOLD] = told


def told() -> Told | None:
    """Return what has happened last."""
    found: Told | None = st.session_state.get(keys.ADMIN_TOLD)
    return found


def fill(key: str, text: str) -> None:
    """Fill a box before it is drawn, unless somebody may have typed in it."""
    if key not in st.session_state:
        st.session_state[key] = text
        st.session_state[f"{keys.FILLED}{key}"] = text


def typed(key: str) -> str | None:
    """Return what somebody typed in a box that `fill` has filled; None if it still has the same text."""
    given = str(st.session_state.get(key) or "").strip()
    return None if given == st.session_state.get(f"{keys.FILLED}{key}", given) else given


def empty(*names: str) -> None:
    """Let `fill` fill these boxes anew. Call this from a callback only."""
    for name in names:
        st.session_state.pop(name, None)
