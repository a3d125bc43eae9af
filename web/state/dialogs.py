"""Sentences and dialogs that a coming run shows."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

import streamlit as st

from web.state import keys
from web.state.conversation import conversation_id
from web.state.values import Decision, Dialog, DialogKind, Notice


def chosen_menu_item() -> str | None:
    """What was picked in the conversation's menu in this run."""
    return st.session_state.get(keys.MENU)


def show_notice(notice: Notice) -> None:
    """Keep a sentence for the coming run."""
    st.session_state[keys.NOTICE] = notice


def take_notice() -> Notice | None:
    """The sentence to show now; it is shown once."""
    notice: Notice | None = st.session_state.pop(keys.NOTICE, None)
    return notice


def ask_for_dialog(kind: DialogKind) -> None:
    """Show this dialog from the coming run on."""
    st.session_state[keys.DIALOG] = Dialog(uuid4().hex, kind, conversation_id())
    ask_for_whole_page()


def ask_for_whole_page() -> None:
    """Have a fragment's run followed by one of the whole page."""
    st.session_state[keys.WHOLE_PAGE] = True


def take_whole_page() -> bool:
    """Whether the whole page was asked for since this was last called."""
    return bool(st.session_state.pop(keys.WHOLE_PAGE, False))


def dialog() -> Dialog | None:
    """The dialog that was asked for last. The browser shows each once, and keeps it over every run."""
    found: Dialog | None = st.session_state.get(keys.DIALOG)
    return found


def decision() -> Decision | None:
    """What was decided in the last dialog. Only from the live answer's callback."""
    said, asked = getattr(st.session_state.get(keys.LIVE), "decided", None), dialog()
    if asked is None or not isinstance(said, Mapping) or said.get("id") != asked.id:
        return None
    return Decision(asked, str(said.get("title") or ""))


def end_dialog(asked: Dialog, *, error: str) -> None:
    """Tell the browser how it ended; with an error it stays open and shows it."""
    st.session_state[keys.DECIDED] = {"id": asked.id, "error": error, "try": uuid4().hex}


def decided() -> dict[str, str] | None:
    """How the last dialog ended."""
    found: dict[str, str] | None = st.session_state.get(keys.DECIDED)
    return found
