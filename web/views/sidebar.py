"""The sidebar: a new chat, the conversations by day as real links, and at the foot language, theme and who one is.

Rename and delete stand beside the open conversation only: a menu for each of a hundred lines would be a hundred
widgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from html import escape
from itertools import groupby

import streamlit as st

from shared import conversations
from shared.conversations import ConversationRow, Opened
from shared.errors import NaruError
from web import state
from web.bounds import without_turns
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
        st.html(f'<a class="naru-link naru-new" data-naru-link href="./">{escape(t("sidebar.new"))}</a>')
        with st.container(key="conversations"):
            _list(frame, rows, opened)
        _foot(frame)
    if opened is not None and (dialog := state.take_dialog()):
        {"rename": _rename, "delete": _delete}[dialog](frame, opened)


def _list(frame: Frame, rows: Sequence[ConversationRow], opened: Opened | None) -> None:
    """The lines, as few elements as can be: those before the open conversation, its own with the menu, the rest."""
    if not rows:
        st.caption(frame.words.t("sidebar.none"))
        return
    today = datetime.now(state.timezone()).date()
    html = ""
    for group, members in groupby(rows, lambda row: _group(row, today)):
        html += f'<h2 class="naru-day">{escape(frame.words.t(f"sidebar.{group}"))}</h2>'
        for row in members:
            if opened is None or row.id != opened.id:
                html += _link(frame, row)
                continue
            st.html(html)
            html = ""
            _open_row(frame, row)
    if html:
        st.html(html)


def _group(row: ConversationRow, today: date) -> str:
    day = row.updated_at.astimezone(state.timezone()).date()
    if day >= today:
        return "today"
    if day == today - timedelta(days=1):
        return "yesterday"
    return "week" if day > today - timedelta(days=7) else "earlier"


def _link(frame: Frame, row: ConversationRow, *, is_open: bool = False) -> str:
    title = escape(row.title or frame.words.t("sidebar.untitled"))
    current = ' aria-current="page"' if is_open else ""
    return f'<a class="naru-link" data-naru-link href="?c={row.id}"{current} title="{title}" dir="auto">{title}</a>'


def _open_row(frame: Frame, row: ConversationRow) -> None:
    with st.container(key="open-conversation", horizontal=True, gap=None, vertical_alignment="center"):
        st.html(_link(frame, row, is_open=True))
        st.menu_button(
            "",
            ACTIONS,
            key=state.MENU,
            type="tertiary",
            icon=":material/more_horiz:",
            help=frame.words.t("live.menu"),
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
        with st.form("rename-form", border=False):  # so that Enter saves
            st.text_input(t("rename.label"), value=opened.title, key=state.TITLE, max_chars=200)
            saved = st.form_submit_button(t("rename.save"), type="primary", key="rename-save")
        if saved:
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
        st.markdown(plain(t("delete.text", title=without_turns(opened.title))))
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
            on_change=state.choose_locale,
        )
        st.caption(f"{t('sidebar.who')}  \n{t('sidebar.theme')}")
