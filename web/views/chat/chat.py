"""The chat: the conversation in the address, its messages, the live answer and the composer.

The elements have a fixed order, so that nothing moves when an answer ends. Without Postgres, the page shows what it
read last, keeps the typed text, and retries by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

import streamlit as st

from shared.conversations import Opened, open_conversation
from shared.conversations.fate import is_stored
from shared.errors import NotFound, Unavailable
from shared.fleet import Fleet, fleet
from web import state
from web.live.component import live_answer
from web.markdown.bounds import strip_bidi_controls
from web.state.values import Notice
from web.views import notices
from web.views.chat import composer, dialogs, empty, listing, messages, sidebar
from web.views.frame import Frame

RETRY_SECONDS = 3.0


def draw(frame: Frame) -> None:
    """Draw the page of one conversation."""
    opened: Opened | None = None
    offered: Fleet | None = None
    is_away = False
    try:
        listing.read(frame)
        offered = frame.runtime.allowances.usable(frame.owner, fleet(frame.engine))
        opened = _open(frame)
        state.remember(opened)
        _tell_fate(frame)
    except Unavailable:
        is_away = True
        opened = opened or state.remembered(state.conversation_id()) or _unread(state.conversation_id())
    _name_tab(frame, opened)
    sidebar.draw(frame, opened)
    _conversation(frame, opened, offered, is_away=is_away)


def _open(frame: Frame) -> Opened:
    """Return the conversation in the address, or a new one if it cannot be shown."""
    try:
        opened = _read(frame)
        if opened.exists or state.is_gone() or state.is_fresh():
            if opened.exists:
                state.settle_address()
            return opened
    except NotFound:
        pass
    state.give_up_conversation()
    return _read(frame)


def _read(frame: Frame) -> Opened:
    return open_conversation(frame.engine, state.conversation_id(), owner=frame.owner, limit=state.window())


def _tell_fate(frame: Frame) -> None:
    """Tell a question's fate. Call this in the script's body, when all earlier questions have been handled."""
    key = state.unsure_key()
    if key is None:
        return
    stored = is_stored(frame.engine, owner=frame.owner, key=key)
    state.tell_fate(key, is_stored=stored)
    if not stored:
        state.show_notice(Notice("not_sent", is_text_kept=True))


def _conversation(frame: Frame, opened: Opened, offered: Fleet | None, *, is_away: bool) -> None:
    with st.container(key="history"):
        if opened.messages:
            messages.draw(frame, opened)
        elif state.is_gone():
            _gone(frame)
        elif not is_away:
            empty.draw(frame)
    with st.container(key="away"):
        if is_away:
            _away(frame)
    with st.container(key="livebox"):
        live_answer(
            place=_place(opened),
            settled=[str(message.request_id) for message in opened.messages if message.request_id][-20:],
            active=str(opened.active.request_id) if opened.active else None,
            question=state.question(),
            max_characters=frame.runtime.settings.max_question_characters,
            dialog=dialogs.shown(frame, opened),
            decided=state.decided(),
            labels=frame.words.group("live."),
            locale=frame.words.locale,
            locale_choice=state.locale_choice(),
            on_change=_nothing,
            on_open=state.follow_link,
            on_unsure=state.ask_for_fate,
            on_decided=partial(dialogs.decide, frame),
        )
    composer.draw(frame, opened, offered)


def _place(opened: Opened) -> dict[str, Any]:
    """Return the conversation in the address and the one shown, for the browser."""
    asked = state.asked_id()
    return {
        "conversation_id": str(opened.id),
        "exists": opened.exists,
        "asked": asked,
        "gone": asked if state.is_gone() else None,
        "back": state.came_back(),
    }


def _gone(frame: Frame) -> None:
    """Say that the conversation in the address cannot be shown. A question here begins a new chat."""
    notice = state.take_notice()
    if notice is not None and notice.code != NotFound.code:
        state.show_notice(notice)  # above the composer
        notice = None
    notices.show(frame.words, notice or notices.notice_of(NotFound()))
    notices.way_out(frame.words)


def _name_tab(frame: Frame, opened: Opened) -> None:
    name = frame.words.t("app.name")
    title = strip_bidi_controls(opened.title)
    st.set_page_config(page_title=f"{title} · {name}" if title else name)


def _nothing() -> None:
    """Do nothing: as a callback, this makes the live answer's trigger run the page."""


def _unread(conversation_id: UUID) -> Opened:
    exists = not (state.is_fresh() or state.is_gone())
    return Opened(id=conversation_id, exists=exists, title="", model=None, messages=(), has_earlier=False, active=None)


def _away(frame: Frame) -> None:
    """Say that Postgres does not answer, and check again every few seconds."""

    @st.fragment(run_every=RETRY_SECONDS, key="look-again")
    def look_again() -> None:
        try:
            fleet(frame.engine)
        except Unavailable:
            notices.sentence(f"{frame.words.error('unavailable')} {frame.words.t('notice.retrying')}")
        else:
            st.rerun()

    look_again()
