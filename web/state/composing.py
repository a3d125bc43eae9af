"""The question being written: its idempotency key, its model, and the fate of the last one."""

from __future__ import annotations

from collections.abc import Collection
from uuid import uuid4

import streamlit as st

from web.state import keys
from web.state.values import Asked


def idempotency_key() -> str:
    """Return the key of the question being written, which changes once it is accepted."""
    return str(st.session_state.setdefault(keys.KEY, uuid4().hex))


def renew_idempotency_key() -> None:
    """Make a new key, because the question was accepted."""
    st.session_state[keys.ACCEPTED] = idempotency_key()
    st.session_state.pop(keys.WARNED, None)
    st.session_state[keys.KEY] = uuid4().hex
    st.session_state.pop(keys.WINDOW_SIZE, None)  # show the end of the conversation
    if st.session_state.get(keys.FRESH) == st.session_state.get(keys.CONVERSATION):
        st.session_state.pop(keys.FRESH, None)


def note_warning(text: str, code: str) -> None:
    """Record that the person was warned of what this text contains."""
    st.session_state[keys.WARNED] = (text.strip(), {*warned_of(text), code})


def warned_of(text: str) -> Collection[str]:
    """Return the codes of the warnings about this very text."""
    warned, codes = st.session_state.get(keys.WARNED, ("", set()))
    return codes if warned == text.strip() else set()


def composed() -> str:
    """Return the text sent from the composer in this run."""
    return str(st.session_state.get(keys.COMPOSER) or "")


def put_back(text: str) -> None:
    """Return a refused question to the browser, which puts it into the composer.

    The widget's own value would not do: it lasts for one run, which may be interrupted before it draws.
    """
    st.session_state[keys.RETURNED] = {"id": uuid4().hex, "text": text}


def ask_for_fate() -> None:
    """Record that the browser asks for a question's fate. Call this from the live answer's callback only."""
    asked = str(getattr(st.session_state.get(keys.LIVE), "unsure", None) or "")
    if keys.KEY_FORM.fullmatch(asked):
        st.session_state[keys.UNSURE] = asked


def unsure_key() -> str | None:
    """Return the key whose fate the browser asks for, until it is known."""
    return st.session_state.get(keys.UNSURE)


def tell_fate(key: str, *, is_stored: bool) -> None:
    """Record the fate. A question that was not stored keeps its key, so that a retry finds it if it is stored late."""
    st.session_state.pop(keys.UNSURE, None)
    st.session_state[keys.FATE] = {"key": key, "is_stored": is_stored}
    if not is_stored:
        st.session_state[keys.KEY] = key


def question() -> Asked:
    """Return what the browser is told about its questions in this run."""
    return Asked(
        key=idempotency_key(),
        session=st.session_state.setdefault(keys.SESSION, uuid4().hex),
        accepted=st.session_state.get(keys.ACCEPTED),
        returned=st.session_state.get(keys.RETURNED),
        fate=st.session_state.get(keys.FATE),
    )


def chosen_model() -> str:
    """Return the model in the picker, or "" without a picker."""
    return str(st.session_state.get(keys.MODEL) or "")


def offer_model(name: str) -> None:
    """Set the model that the picker shows until the person chooses."""
    if st.session_state.get(keys.MODEL) is None:
        st.session_state[keys.MODEL] = name
