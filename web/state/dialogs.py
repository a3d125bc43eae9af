"""Sentences and dialogs to show in a later run."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

import streamlit as st

from web.state import keys
from web.state.conversation import conversation_id
from web.state.values import Decision, Dialog, DialogKind, Notice


def chosen_menu_item() -> str | None:
    """Return the item chosen in the conversation's menu in this run."""
    return st.session_state.get(keys.MENU)


def show_notice(notice: Notice) -> None:
    """Keep a sentence for the next run."""
    st.session_state[keys.NOTICE] = notice


def take_notice() -> Notice | None:
    """Return the sentence to show, and forget it."""
    notice: Notice | None = st.session_state.pop(keys.NOTICE, None)
    return notice


def ask_for_dialog(kind: DialogKind) -> None:
    """Show this dialog from the next run on."""
    st.session_state[keys.DIALOG] = Dialog(uuid4().hex, kind, conversation_id())
    ask_for_whole_page()


def ask_for_whole_page() -> None:
    """Run the whole page after the current fragment."""
    st.session_state[keys.WHOLE_PAGE] = True


def take_whole_page() -> bool:
    """Return whether a run of the whole page was requested since the last call."""
    return bool(st.session_state.pop(keys.WHOLE_PAGE, False))


def dialog() -> Dialog | None:
    """Return the dialog requested last. The browser shows each once, and keeps it open across runs."""
    found: Dialog | None = st.session_state.get(keys.DIALOG)
    return found


def decision() -> Decision | None:
    """Return the decision in the last dialog. Call this from the live answer's callback only."""
    said, asked = getattr(st.session_state.get(keys.LIVE), "decided", None), dialog()
    if asked is None or not isinstance(said, Mapping) or said.get("id") != asked.id:
        return None
    return Decision(asked, str(said.get("title") or ""))


def end_dialog(asked: Dialog, *, error: str) -> None:
    """Tell the browser the result. With an error, the dialog stays open and shows it."""
    st.session_state[keys.DECIDED] = {"id": asked.id, "error": error, "try": uuid4().hex}


def decided() -> dict[str, str] | None:
    """Return the result of the last dialog."""
    found: dict[str, str] | None = st.session_state.get(keys.DECIDED)
    return found
