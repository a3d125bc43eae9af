"""The settings of one conversation: instructions, temperature and effort, in a panel beside the model.

The panel draws its fields only while it is open; an empty field shows the model's default. A conversation without
questions has no row yet: the page keeps the settings until the first question stores them.
"""

from __future__ import annotations

from uuid import UUID

import streamlit as st

from shared import conversations, personal_data
from shared.conversations import Opened
from shared.errors import NaruError, PersonalData
from shared.fleet import Fleet
from shared.tuning import COLDEST, EFFORTS, LONGEST_INSTRUCTIONS, NO_TUNING, WARMEST, Tuning
from web import state
from web.views import notices
from web.views.frame import Frame


def of(opened: Opened) -> Tuning:
    """Return the conversation's settings."""
    return opened.tuning if opened.exists else state.tuning()


def panel(frame: Frame, opened: Opened, fleet: Fleet | None) -> None:
    """Draw the button and, while it is open, the fields."""
    t, current = frame.words.t, of(opened)
    stored = opened.id if opened.exists else None
    label = t("tuning.changed") if current else t("tuning.title")
    with st.popover(label, type="tertiary", icon=":material/tune:", key=state.TUNING_PANEL, on_change="rerun") as shown:
        if not shown.open:
            return
        _fields(frame, current, _defaults(opened, fleet))
        if notice := state.panel_notice():
            notices.sentence(notices.text(frame.words, notice), notice.id)
        st.button(t("tuning.save"), key="tuning-save", width="stretch", on_click=save, args=(frame, stored))
        st.button(
            t("tuning.reset"),
            key="tuning-reset",
            type="tertiary",
            on_click=reset,
            args=(frame, stored),
            disabled=not current,
        )


def _defaults(opened: Opened, fleet: Fleet | None) -> Tuning:
    """Return the defaults of the chosen model; its instructions are shortened."""
    name = state.chosen_model() or opened.model
    models = fleet.models if fleet is not None else ()
    return next((each.defaults for each in models if each.name == name), NO_TUNING)


def _fields(frame: Frame, current: Tuning, defaults: Tuning) -> None:
    def default(value: str) -> str:
        return t("tuning.default_is", value=value) if value else t("tuning.default")

    t = frame.words.t
    temperature = "" if defaults.temperature is None else f"{defaults.temperature:g}"
    unset_effort = default(t(f"effort.{defaults.effort}") if defaults.effort else "")
    state.fill_panel(current)
    st.text_area(
        t("tuning.instructions"),
        key=state.INSTRUCTIONS,
        max_chars=LONGEST_INSTRUCTIONS,
        placeholder=default(defaults.instructions) if defaults.instructions else t("tuning.instructions_example"),
        help=t("tuning.instructions_help") if defaults.instructions else None,
        height=140,
        on_change=state.draft_panel,
    )
    st.number_input(
        t("tuning.temperature"),
        key=state.TEMPERATURE,
        min_value=COLDEST,
        max_value=WARMEST,
        step=0.1,
        format="%.1f",
        placeholder=default(temperature),
        help=t("tuning.temperature_help"),
        on_change=state.draft_panel,
    )
    st.selectbox(
        t("tuning.effort"),
        ("", *EFFORTS),
        key=state.EFFORT,
        format_func=lambda effort: t(f"effort.{effort}") if effort else unset_effort,
        help=t("tuning.effort_help"),
        filter_mode=None,
        on_change=state.draft_panel,
    )


def save(frame: Frame, stored: UUID | None) -> None:
    """Store the settings in the panel, for the conversation with this id or for the one that the page keeps.

    On an error the panel stays open with them.
    """
    _put(frame, state.filled_panel(), stored)


def reset(frame: Frame, stored: UUID | None) -> None:
    """Return to the model's defaults."""
    _put(frame, NO_TUNING, stored)


def _put(frame: Frame, tuning: Tuning, stored: UUID | None) -> None:
    text = tuning.instructions
    try:
        owner = frame.owner
        personal_data.check(text, frame.runtime.allowances.personal_data(owner), confirmed=state.warned_of(text))
        if stored:
            conversations.tune(frame.engine, stored, owner=owner, tuning=tuning)
        else:
            state.keep_tuning(tuning)
    except PersonalData as error:
        state.note_warning(text, error.code)
        state.refuse_panel(notices.of_instructions(error))
    except NaruError as error:
        state.refuse_panel(notices.notice_of(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the fields stay and the person gets a sentence
        state.refuse_panel(notices.unforeseen(error))
    else:
        state.close_panel()
