"""The question that is being written: its idempotency key, its model, and how the last one ended."""

from __future__ import annotations

from uuid import uuid4

import streamlit as st

from web.state import keys
from web.state.values import Asked


def idempotency_key() -> str:
    """The key of the question that is being written: the same until it is accepted."""
    return str(st.session_state.setdefault(keys.KEY, uuid4().hex))


def renew_idempotency_key() -> None:
    """The question was accepted: the next one is another."""
    st.session_state[keys.ACCEPTED] = idempotency_key()
    st.session_state[keys.KEY] = uuid4().hex
    st.session_state.pop(keys.WINDOW_SIZE, None)  # the end of the conversation is what is looked at now
    if st.session_state.get(keys.FRESH) == st.session_state.get(keys.CONVERSATION):
        st.session_state.pop(keys.FRESH, None)


def composed() -> str:
    """What was sent from the composer in this run."""
    return str(st.session_state.get(keys.COMPOSER) or "")


def put_back(text: str) -> None:
    """Give a refused question back to the browser, which puts it into the composer.

    Not by the widget's own value: Streamlit keeps that for one run, and a run may be cut short before it draws.
    """
    st.session_state[keys.RETURNED] = {"id": uuid4().hex, "text": text}


def ask_for_fate() -> None:
    """The browser asks what became of a question. Only from the live answer's callback."""
    asked = str(getattr(st.session_state.get(keys.LIVE), "unsure", None) or "")
    if keys.KEY_FORM.fullmatch(asked):
        st.session_state[keys.UNSURE] = asked


def unsure_key() -> str | None:
    """The key whose fate the browser asks for, until it is known."""
    return st.session_state.get(keys.UNSURE)


def tell_fate(key: str, *, is_stored: bool) -> None:
    """It is known now. One that was not stored keeps its key: should it be stored late, asking again finds it."""
    st.session_state.pop(keys.UNSURE, None)
    st.session_state[keys.FATE] = {"key": key, "is_stored": is_stored}
    if not is_stored:
        st.session_state[keys.KEY] = key


def question() -> Asked:
    """What the browser is told of its questions in this run."""
    return Asked(
        key=idempotency_key(),
        session=st.session_state.setdefault(keys.SESSION, uuid4().hex),
        accepted=st.session_state.get(keys.ACCEPTED),
        returned=st.session_state.get(keys.RETURNED),
        fate=st.session_state.get(keys.FATE),
    )


def chosen_model() -> str:
    """The model in the picker; empty when there is nothing to pick."""
    return str(st.session_state.get(keys.MODEL) or "")


def offer_model(name: str) -> None:
    """What the picker shows until the person picks."""
    if st.session_state.get(keys.MODEL) is None:
        st.session_state[keys.MODEL] = name
