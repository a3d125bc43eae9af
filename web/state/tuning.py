"""The settings of the conversation, until its first question stores them, and the panel that changes them."""

from __future__ import annotations

import streamlit as st

from shared.lifecycle import storable
from shared.tuning import EFFORTS, LONGEST_INSTRUCTIONS, NO_TUNING, Tuning
from web.state import keys
from web.state.values import Notice

_FIELDS = (keys.INSTRUCTIONS, keys.TEMPERATURE, keys.EFFORT)


def tuning() -> Tuning:
    """Return the settings for a conversation without questions."""
    found: Tuning = st.session_state.get(keys.TUNING, NO_TUNING)
    return found


def keep_tuning(tuning: Tuning) -> None:
    """Keep the settings for the conversation's first question."""
    st.session_state[keys.TUNING] = tuning


def fill_panel(tuning: Tuning) -> None:
    """Show the settings that the person has begun to change, or else these."""
    shown: Tuning = st.session_state.get(keys.TUNING_DRAFT, tuning)
    st.session_state.setdefault(keys.INSTRUCTIONS, shown.instructions)
    st.session_state.setdefault(keys.TEMPERATURE, shown.temperature)
    st.session_state.setdefault(keys.EFFORT, shown.effort or "")


def draft_panel() -> None:
    """Keep what was typed, because Streamlit forgets the fields of a closed panel. A callback of each field."""
    st.session_state[keys.TUNING_DRAFT] = filled_panel()


def filled_panel() -> Tuning:
    """Return the settings in the panel."""
    temperature, effort = st.session_state.get(keys.TEMPERATURE), st.session_state.get(keys.EFFORT)
    return Tuning(
        instructions=storable(str(st.session_state.get(keys.INSTRUCTIONS) or "").strip())[:LONGEST_INSTRUCTIONS],
        temperature=None if temperature is None else float(temperature),
        effort=effort if effort in EFFORTS else None,
    )


def refuse_panel(notice: Notice) -> None:
    """Show why the settings were not stored, in the panel that stays open."""
    st.session_state[keys.TUNING_NOTICE] = notice


def panel_notice() -> Notice | None:
    """Return why the settings were not stored."""
    found: Notice | None = st.session_state.get(keys.TUNING_NOTICE)
    return found


def close_panel() -> None:
    """Close the panel, and forget its fields. Call this in a callback only."""
    st.session_state[keys.TUNING_PANEL] = False
    for key in (*_FIELDS, keys.TUNING_DRAFT, keys.TUNING_NOTICE):
        st.session_state.pop(key, None)
