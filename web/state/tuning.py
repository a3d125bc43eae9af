"""The settings of the conversation, until its first question stores them, and the panel that changes them."""

from __future__ import annotations

import streamlit as st

from shared.tuning import EFFORTS, LONGEST_INSTRUCTIONS, NO_TUNING, Tuning
from web.state import keys


def tuning() -> Tuning:
    """Return the settings for a conversation without questions."""
    found: Tuning = st.session_state.get(keys.TUNING, NO_TUNING)
    return found


def keep_tuning(tuning: Tuning) -> None:
    """Keep the settings for the conversation's first question."""
    st.session_state[keys.TUNING] = tuning


def fill_panel(tuning: Tuning) -> None:
    """Show these settings in the panel, unless the person is changing them."""
    st.session_state.setdefault(keys.INSTRUCTIONS, tuning.instructions)
    st.session_state.setdefault(keys.TEMPERATURE, tuning.temperature)
    st.session_state.setdefault(keys.EFFORT, tuning.effort or "")


def filled_panel() -> Tuning:
    """Return the settings in the panel."""
    temperature, effort = st.session_state.get(keys.TEMPERATURE), st.session_state.get(keys.EFFORT)
    return Tuning(
        instructions=str(st.session_state.get(keys.INSTRUCTIONS) or "").strip()[:LONGEST_INSTRUCTIONS],
        temperature=None if temperature is None else float(temperature),
        effort=effort if effort in EFFORTS else None,
    )


def close_panel() -> None:
    """Close the panel, and forget its fields. Call this in a callback only."""
    st.session_state[keys.TUNING_PANEL] = False
    for key in (keys.INSTRUCTIONS, keys.TEMPERATURE, keys.EFFORT):
        st.session_state.pop(key, None)
