"""The composer, with the model picker. All questions are sent here.

The work is done in callbacks, because the script's body may be repeated or interrupted at any time. A refused question
returns to the composer.
"""

from __future__ import annotations

import logging
import time
from html import escape
from uuid import UUID

import streamlit as st

from shared import logs
from shared.conversations import Opened
from shared.errors import NaruError, PersonalData, StillRunning, Unavailable
from shared.fleet import Fleet
from shared.lifecycle import Question
from shared.spending.currency import Currency
from web import state
from web.state.values import Notice
from web.views import notices
from web.views.chat import picker, tuning
from web.views.frame import Frame

log = logging.getLogger(__name__)

#: Retry this long while the previous answer is being stored.
ENDING_SECONDS = 0.5


def draw(frame: Frame, opened: Opened, fleet: Fleet | None) -> None:
    """Draw the notice, the demo line, the input and the picker."""
    t = frame.words.t
    is_demo = fleet is not None and bool(fleet.models) and all(model.demo for model in fleet.models)
    with st.bottom, st.container(key="bottom"):
        # Draw both even if empty: an additional element would recreate the input, without its text.
        with st.container(key="above-composer"):
            if notice := state.take_notice():
                notices.show(frame.words, notice)
        with st.container(key="demo"):
            if is_demo:
                st.html(f'<div class="naru-demo-line" role="note">{t("demo.line")}</div>')
            if why := picker.nothing_offered(frame, opened, fleet):
                st.html(why)
            if line := _left(frame):
                st.html(f'<div class="naru-demo-line naru-left" role="note">{escape(line)}</div>')
        with st.container(key="composer-box"):
            state.idempotency_key()
            st.chat_input(t("composer.placeholder"), key=state.COMPOSER, on_submit=send, args=(frame,))
            _side(frame)
            with st.container(key="composer-row", horizontal=True, vertical_alignment="center"):
                picker.draw(frame, opened, fleet)
                tuning.panel(frame, opened, fleet)


def _left(frame: Frame) -> str:
    """Return the line that says what is left of a limit, once that is little."""
    try:
        found = frame.runtime.allowances.scarcest(frame.owner)
    except Unavailable:
        return ""
    if found is None:
        return ""
    allowance, part = found
    _, most, left = part.shown(Currency.of(frame.runtime.settings))
    line = frame.words.t(f"left.{part.name}", left=left, most=most)
    return frame.words.t("left.of_group", name=allowance.group, line=line) if allowance.group else line


def _side(frame: Frame) -> None:
    """Draw Stop, the hint and the character count, which `web/live/composer.js` fills and shows."""
    stop = escape(frame.words.t("live.stop"), quote=True)
    with st.container(key="composer-side"):
        st.html(
            f'<button type="button" class="naru-stop-here" aria-label="{stop}" title="{stop}">'
            '<span class="naru-square" aria-hidden="true"></span></button>'
            '<div class="naru-side"><span class="naru-hint" role="status"></span><span class="naru-count"></span></div>'
        )


def send(frame: Frame) -> None:
    """Submit the typed text."""
    text = state.composed()
    if text.strip():
        _submit(frame, text)


def ask(frame: Frame, text: str) -> None:
    """Submit one of the suggested questions."""
    _submit(frame, text)


def again(frame: Frame, answer_id: UUID) -> None:
    """Answer the last question again. The old answer is kept in Postgres.

    Each answer is replaced once, even if this is clicked repeatedly or in several tabs.
    """
    _submit(frame, "", again_for=answer_id)


def _submit(frame: Frame, text: str, *, again_for: UUID | None = None) -> None:
    conversation_id = state.conversation_id()
    try:
        question = Question(
            owner=frame.owner,
            conversation_id=conversation_id,
            text=text,
            idempotency_key=f"again:{again_for}" if again_for else state.idempotency_key(),
            model=state.chosen_model(),
            regenerate=again_for is not None,
            tuning=state.tuning(),
        )
        with logs.bound(**state.log_ids()):
            _accept(frame, question)
    except NaruError as error:
        if isinstance(error, PersonalData):
            state.note_warning(text, error.code)
        log.info("question refused", extra={"error_code": error.code, "conversation_id": str(conversation_id)})
        _refuse(notices.notice_of(error, is_text_kept=bool(text)), text)
    except Exception as error:  # noqa: BLE001 - whatever it is, the person keeps the text and gets a sentence
        _refuse(notices.unforeseen(error, is_text_kept=bool(text)), text)
    else:
        state.renew_idempotency_key()


def _accept(frame: Frame, question: Question) -> None:
    """Submit, and wait for an answer that is about to end: its last word is shown before its end is stored."""
    until = time.monotonic() + ENDING_SECONDS
    while True:
        try:
            frame.runtime.submit(question, client=frame.client, confirmed=state.warned_of(question.text))
        except StillRunning:
            if time.monotonic() > until:
                raise
            time.sleep(ENDING_SECONDS / 5)
        else:
            return


def _refuse(notice: Notice, text: str) -> None:
    state.show_notice(notice)
    if text:
        state.put_back(text)
