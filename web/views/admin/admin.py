"""The page for administrators: its frame, and the part that is open."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st

from shared.people.refusals import AdminOnly
from web import state
from web.views import notices
from web.views.admin import access, banner, live, models, people, requests, use
from web.views.admin.showing import plain
from web.views.frame import Frame


def draw(frame: Frame) -> None:
    """Draw the page for an administrator, and for anybody else a sentence and a way to the chats."""
    t = frame.words.t
    st.set_page_config(page_title=f"{t('admin.title')} · {t('app.name')}")
    with st.container(key="admin"):
        st.html(f'<h1 class="naru-title">{plain(t("admin.title"))}</h1>')
        try:
            access.admin_of(frame)
        except AdminOnly as error:
            notices.show(frame.words, notices.notice_of(error))
            notices.way_to_chats(frame.words)
            return
        st.html(f'<p><a href="./">{plain(t("account.back"))}</a></p>')
        PARTS[_switch(frame)](frame)


def _switch(frame: Frame) -> str:
    names = tuple(PARTS)
    st.segmented_control(
        frame.words.t("admin.title"),
        names,
        key=state.ADMIN_PART,
        default=state.part(names),
        format_func=lambda name: frame.words.t(NAMES[name]),
        label_visibility="collapsed",
        required=True,
        on_change=state.note_part,
    )
    return state.part(names)


def _live(frame: Frame) -> None:
    requests.find(frame)
    access.refreshed(frame, live.draw, seconds=live.REFRESH_SECONDS)


def _use(frame: Frame) -> None:
    access.refreshed(frame, use.draw, seconds=use.REFRESH_SECONDS)


NAMES = {
    "live": "admin.part_live",
    "use": "admin.part_use",
    "people": "admin.part_people",
    "models": "admin.part_models",
    "banner": "admin.part_banner",
}
PARTS: Mapping[str, Callable[[Frame], None]] = {
    "live": _live,
    "use": _use,
    "people": people.draw,
    "models": models.draw,
    "banner": banner.draw,
}
