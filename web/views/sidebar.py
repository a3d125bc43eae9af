"""The sidebar: a new chat, the conversations by day as real links, and at the foot language, theme and who one is.

Rename and delete stand beside the open conversation only: a menu for each of a hundred lines would be a hundred
widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

import streamlit as st

from shared import conversations
from shared.conversations import ConversationRow, Opened
from shared.errors import NaruError
from web import state
from web.markdown import plain
from web.views import notices
from web.views.frame import Frame
from web.words import LOCALES

ACTIONS: tuple[state.Dialog, ...] = ("rename", "delete")


def draw(frame: Frame, rows: Sequence[ConversationRow], opened: Opened | None) -> None:
    """Draw it. Without `rows` (Postgres is away) only what needs none."""
    t = frame.words.t
    with st.sidebar:
        st.html(f'<div class="naru-name">{t("app.name")}</div>')
        with st.container(key="new-chat"):
            _link(frame, t("sidebar.new"), icon=":material/edit_square:")
        with st.container(key="conversations"):
            if not rows:
                st.caption(t("sidebar.none"))
            today = datetime.now(state.timezone()).date()
            for group, members in groupby(rows, lambda row: _group(row, today)):
                st.html(f'<h2 class="naru-day">{t(f"sidebar.{group}")}</h2>')
                for row in members:
                    _row(frame, row, is_open=opened is not None and row.id == opened.id)
        _foot(frame)
    if opened is not None and (dialog := state.take_dialog()):
        {"rename": _rename, "delete": _delete}[dialog](frame, opened)


def _group(row: ConversationRow, today: date) -> str:
    day = row.updated_at.astimezone(state.timezone()).date()
    if day >= today:
        return "today"
    if day == today - timedelta(days=1):
        return "yesterday"
    return "week" if day > today - timedelta(days=7) else "earlier"


def _link(frame: Frame, label: str, *, conversation_id: str | None = None, icon: str | None = None) -> None:
    if frame.page is not None:
        query = {"c": conversation_id} if conversation_id else None
        st.page_link(frame.page, label=label, icon=icon, query_params=query, width="stretch")


def _row(frame: Frame, row: ConversationRow, *, is_open: bool) -> None:
    label = plain(row.title) or frame.words.t("sidebar.untitled")
    if not is_open:
        _link(frame, label, conversation_id=str(row.id))
        return
    with st.container(key="open-conversation", horizontal=True, gap=None, vertical_alignment="center"):
        _link(frame, label, conversation_id=str(row.id))
        st.menu_button(
            "",
            ACTIONS,
            key=state.MENU,
            type="tertiary",
            icon=":material/more_horiz:",
            help=frame.words.t("sidebar.menu"),
            format_func=lambda action: frame.words.t(f"sidebar.{action}"),
            on_click=_open_dialog,
        )


def _open_dialog() -> None:
    action = state.chosen_menu_item()
    if action in ACTIONS:
        state.ask_for("rename" if action == "rename" else "delete")


def _rename(frame: Frame, opened: Opened) -> None:
    t = frame.words.t

    @st.dialog(t("rename.title"))
    def dialog() -> None:
        st.text_input(t("rename.label"), value=opened.title, key=state.TITLE, max_chars=200)
        if st.button(t("rename.save"), type="primary", key="rename-save"):
            _carry_out(
                lambda: conversations.rename(
                    frame.engine, opened.id, owner_id=frame.owner_id, title=state.typed_title()
                )
            )
            st.rerun()

    dialog()


def _delete(frame: Frame, opened: Opened) -> None:
    t = frame.words.t

    @st.dialog(t("delete.title"))
    def dialog() -> None:
        st.markdown(plain(t("delete.text", title=opened.title)))
        with st.container(horizontal=True):
            if st.button(t("delete.confirm"), type="primary", key="delete-confirm"):
                _carry_out(lambda: conversations.delete(frame.engine, opened.id, owner_id=frame.owner_id))
                state.leave_conversation()
                st.rerun()
            if st.button(t("dialog.cancel"), key="delete-cancel"):
                st.rerun()

    dialog()


def _carry_out(change: Callable[[], None]) -> None:
    try:
        change()
    except NaruError as error:
        state.show_notice(notices.notice_of(error))


def _foot(frame: Frame) -> None:
    t = frame.words.t
    with st.container(key="foot"):
        st.segmented_control(
            t("sidebar.language"),
            list(LOCALES),
            default=frame.words.locale,
            key=state.LANGUAGE,
            format_func=LOCALES.__getitem__,
            label_visibility="collapsed",
            required=True,
        )
        st.caption(f"{t('sidebar.who')}  \n{t('sidebar.theme')}")
