"""The chat: the conversation in the address, its messages, the live answer, the composer.

The order of the elements is fixed, so that nothing on the page moves when an answer ends. With Postgres away it
shows what it last knew, keeps what is typed, and tries again by itself.
"""

from __future__ import annotations

from uuid import UUID

import streamlit as st

from shared.conversations import Opened, open_conversation
from shared.errors import NotFound, Unavailable
from shared.fleet import Fleet, fleet
from web import state
from web.bounds import without_turns
from web.fate import is_stored
from web.live.component import live_answer
from web.views import composer, empty, listing, messages, notices, sidebar
from web.views.frame import Frame

RETRY_SECONDS = 3.0


def draw(frame: Frame) -> None:
    """Draw the page of one conversation."""
    conversation_id = state.conversation_id()
    opened: Opened | None = None
    offered: Fleet | None = None
    refusal: NotFound | Unavailable | None = None
    try:
        listing.read(frame)
        offered = fleet(frame.engine)
        if conversation_id is None:
            raise NotFound
        opened = open_conversation(frame.engine, conversation_id, owner_id=frame.owner_id, limit=state.window())
        state.remember(opened)
        _tell_fate(frame)
    except (NotFound, Unavailable) as error:
        refusal = error
    _name_tab(frame, opened)
    sidebar.draw(frame, opened)
    if isinstance(refusal, NotFound):
        notices.refused(frame.words, refusal)
        return
    if opened is None and conversation_id is not None:
        opened = state.remembered(conversation_id) or _unread(conversation_id)
    if opened is not None:
        _conversation(frame, opened, offered, is_away=refusal is not None)


def _tell_fate(frame: Frame) -> None:
    """In the script's body, not in the callback: by then every question that came before has been dealt with."""
    key = state.unsure_key()
    if key is None:
        return
    stored = is_stored(frame.engine, owner_id=frame.owner_id, key=key)
    state.tell_fate(key, is_stored=stored)
    if not stored:
        state.show_notice(state.Notice("not_sent", is_text_kept=True))


def _conversation(frame: Frame, opened: Opened, offered: Fleet | None, *, is_away: bool) -> None:
    with st.container(key="history"):
        if opened.messages:
            messages.draw(frame, opened)
        elif not is_away:
            empty.draw(frame)
    with st.container(key="away"):
        if is_away:
            _away(frame)
    with st.container(key="livebox"):
        live_answer(
            conversation_id=str(opened.id),
            settled=[str(message.request_id) for message in opened.messages if message.request_id][-20:],
            active=str(opened.active.request_id) if opened.active else None,
            question=state.question(),
            labels=frame.words.group("live."),
            locale=frame.words.locale,
            locale_choice=state.locale_choice(),
            on_change=_nothing,
            on_open=state.follow_link,
            on_unsure=state.ask_for_fate,
        )
    composer.draw(frame, opened, offered)


def _name_tab(frame: Frame, opened: Opened | None) -> None:
    name = frame.words.t("app.name")
    title = without_turns(opened.title) if opened is not None else ""
    st.set_page_config(page_title=f"{title} · {name}" if title else name)


def _nothing() -> None:
    """A run of the page is all that the live answer asks for; a callback makes its trigger one."""


def _unread(conversation_id: UUID) -> Opened:
    return Opened(id=conversation_id, exists=False, title="", model=None, messages=(), has_earlier=False, active=None)


def _away(frame: Frame) -> None:
    """Say that Postgres does not answer, and look every few seconds whether it does again."""

    @st.fragment(run_every=RETRY_SECONDS, key="look-again")
    def look_again() -> None:
        try:
            fleet(frame.engine)
        except Unavailable:
            notices.sentence(f"{frame.words.error('unavailable')} {frame.words.t('notice.retrying')}")
        else:
            st.rerun()

    look_again()
