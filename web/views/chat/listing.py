"""The list of conversations in the sidebar: links by day, read page by page as the person scrolls.

The list is a fragment, so that reading more of it, or a change in another tab, redraws nothing else. Only the open
conversation has a menu to rename and delete, since a thousand menus would be a thousand widgets. `web/live/shell.js`
clicks two hidden buttons: "more" near the end of the list, "again" after a change in another tab.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from html import escape
from itertools import count, groupby

import streamlit as st

from shared.conversations import ConversationRow, Opened, list_conversations
from shared.errors import Unavailable
from web import state
from web.state.values import DialogKind, Listed
from web.views.frame import Frame

#: Lines per read: more than the tallest screen shows, so that the first page can always scroll.
PAGE = 50
ACTIONS: tuple[DialogKind, ...] = ("rename", "delete")


def read(frame: Frame) -> None:
    """Reload the list as far as the person has scrolled. Raises Unavailable, and then keeps the old list."""
    shown = max(PAGE, len(state.listed(frame.owner).rows))
    with _kept(frame):
        rows = list_conversations(frame.engine, owner=frame.owner, limit=shown + 1)
        state.remember_list(Listed(frame.owner, tuple(rows[:shown]), has_more=len(rows) > shown))


def draw(frame: Frame, opened: Opened | None) -> None:
    """Draw the list as last read."""
    runs = count()

    @st.fragment(key="listing")
    def listing() -> None:
        is_alone = next(runs) > 0
        if state.take_whole_page() and is_alone:
            st.rerun()
        _draw(frame, opened)

    listing()


def _draw(frame: Frame, opened: Opened | None) -> None:
    t = frame.words.t
    listed = state.listed(frame.owner)
    if not listed.rows and not listed.is_stale:
        st.caption(t("sidebar.none"))
    if opened is not None and opened.exists and all(row.id != opened.id for row in listed.rows):
        st.html(_heading(t("sidebar.open")))
        _open_row(frame, opened.id, opened.title)
    _lines(frame, listed, opened)
    if listed.is_stale:
        st.caption(t("sidebar.away"))
    if listed.has_more:
        st.button(t("sidebar.more"), key="more-conversations", type="tertiary", on_click=_read_more, args=(frame,))
    st.button(t("sidebar.more"), key="list-again", on_click=_read_again, args=(frame, opened))


def _lines(frame: Frame, listed: Listed, opened: Opened | None) -> None:
    """Draw three elements: the lines before the open conversation, its line with the menu, and the rest."""
    today = datetime.now(state.timezone()).date()
    html = ""
    for group, members in groupby(listed.rows, lambda row: _group(row, today)):
        html += _heading(frame.words.t(f"sidebar.{group}"))
        for row in members:
            if opened is None or row.id != opened.id:
                html += _link(frame, row.id, row.title)
                continue
            st.html(html)
            html = ""
            _open_row(frame, row.id, row.title)
    if html:
        st.html(html)


def _read_more(frame: Frame) -> None:
    """Read the page after the last line."""
    listed = state.listed(frame.owner)
    with suppress(Unavailable), _kept(frame):
        after = listed.rows[-1] if listed.rows else None
        rows = list_conversations(frame.engine, owner=frame.owner, after=after, limit=PAGE + 1)
        state.remember_list(Listed(frame.owner, (*listed.rows, *rows[:PAGE]), has_more=len(rows) > PAGE))


def _read_again(frame: Frame, opened: Opened | None) -> None:
    with suppress(Unavailable):
        read(frame)
        if opened is not None and all(row.id != opened.id for row in state.listed(frame.owner).rows):
            state.ask_for_whole_page()  # another tab may have deleted the open conversation


@contextmanager
def _kept(frame: Frame) -> Iterator[None]:
    """Keep the old list if reading fails, and mark it as outdated."""
    try:
        yield
    except Unavailable:
        state.remember_list(replace(state.listed(frame.owner), owner=frame.owner, is_stale=True))
        raise


def _group(row: ConversationRow, today: date) -> str:
    day = row.updated_at.astimezone(state.timezone()).date()
    if day >= today:
        return "today"
    if day == today - timedelta(days=1):
        return "yesterday"
    return "week" if day > today - timedelta(days=7) else "earlier"


def _heading(text: str) -> str:
    return f'<h2 class="naru-day">{escape(text)}</h2>'


def _link(frame: Frame, conversation_id: object, title: str, *, is_open: bool = False) -> str:
    title = escape(title or frame.words.t("sidebar.untitled"))
    current = ' aria-current="page"' if is_open else ""
    href = f"?c={conversation_id}"
    return f'<a class="naru-link" data-naru-link href="{href}"{current} title="{title}" dir="auto">{title}</a>'


def _open_row(frame: Frame, conversation_id: object, title: str) -> None:
    with st.container(key="open-conversation", horizontal=True, gap=None, vertical_alignment="center"):
        st.html(_link(frame, conversation_id, title, is_open=True))
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
        state.ask_for_dialog("rename" if action == "rename" else "delete")
