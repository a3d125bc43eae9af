"""The sidebar: name and "new chat" at the top, the list (`listing.py`), and language, theme and visibility below.

Only the list scrolls.
"""

from __future__ import annotations

import contextlib
from html import escape

import streamlit as st

from shared.audit import readings
from shared.audit.readings import Reading
from shared.conversations import Opened
from shared.errors import NaruError, Unavailable
from shared.people.accounts import Role
from shared.words import LOCALES
from web import state
from web.markdown.bounds import strip_bidi_controls
from web.views import notices
from web.views.chat import debug, listing
from web.views.frame import Frame

#: Streamlit's names of its themes, with our words for them.
THEMES = {"System": "sidebar.theme_system", "Light": "sidebar.theme_light", "Dark": "sidebar.theme_dark"}

#: More would leave no room for the list of chats.
READINGS_AT_ONCE = 2


def draw(frame: Frame, opened: Opened | None) -> None:
    """Draw the sidebar."""
    t = frame.words.t
    with st.sidebar:
        st.html(f'<div class="naru-name">{t("app.name")}</div>')
        st.html(f'<a class="naru-link naru-new" data-naru-link href="./">{escape(t("sidebar.new"))}</a>')
        with st.container(key="conversations"):
            listing.draw(frame, opened)
        _foot(frame)


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
        st.html(_theme_switch(frame))
        if state.has_routes():
            st.html(_download(frame))
        with contextlib.suppress(Unavailable):  # without it, the rest of the page still helps
            _was_read(frame)
        if debug.is_shown(frame):
            st.html(debug.session(frame))
        st.html(f'<p class="naru-who" data-naru-locale="{frame.words.locale}">{_who(frame)}</p>')


def _was_read(frame: Frame) -> None:
    """Tell that an administrator read chats: lead a person to the account page, and let a guest confirm it here."""
    t, new = frame.words.t, state.was_read(lambda: _new_readings(frame))
    if new and state.person():
        st.html(f'<p class="naru-read"><a href="./account">{escape(t("sidebar.was_read"))}</a></p>')
    elif new:
        shown = new[-READINGS_AT_ONCE:]  # the oldest; the others follow when they are confirmed
        for each in reversed(shown):
            time = frame.words.time(each.at.astimezone(state.timezone()))
            line = strip_bidi_controls(t("account.was_read", time=time, reason=each.reason))
            st.html(f'<p class="naru-read" role="alert">{escape(line)}</p>')
        st.button(
            t("account.acknowledge"),
            key="acknowledge",
            type="tertiary",
            on_click=_acknowledge,
            args=(frame, shown[0].seq),
        )


def _new_readings(frame: Frame) -> list[Reading]:
    return [each for each in readings.readings_of(frame.engine, frame.owner.key) if each.is_new]


def _acknowledge(frame: Frame, shown: int) -> None:
    try:
        readings.acknowledge(frame.engine, frame.owner.key, shown=shown)
    except NaruError as error:
        state.show_notice(notices.notice_of(error))
    else:
        state.forget_readings()


def _who(frame: Frame) -> str:
    """Name the signed-in person, with the ways to the account and to administration.

    Without an account, say so, with a way to keep the chats.
    """
    person = state.person()
    if not person:
        who = escape(frame.words.t("sidebar.who"))
        if not (state.has_routes() and frame.runtime.settings.guest_link_days):
            return who
        return f'{who} · <a href="./keep">{escape(frame.words.t("sidebar.keep"))}</a>'
    links = [f'<a href="./account">{escape(frame.words.t("sidebar.account"))}</a>']
    if state.role() == Role.ADMIN:
        links.append(f'<a href="./?page={state.ADMIN_PAGE}">{escape(frame.words.t("sidebar.admin"))}</a>')
    return " · ".join([escape(person), *links])


def _download(frame: Frame) -> str:
    """Draw the links to the owner's chats as files, and to what they used."""
    links = " · ".join(
        f'<a href="./api/export?format={name}" download>{shown}</a>'
        for name, shown in (("markdown", "Markdown"), ("json", "JSON"))
    )
    usage = f'<a href="./usage">{escape(frame.words.t("usage.open"))}</a>'
    return f'<p class="naru-download">{escape(frame.words.t("sidebar.download"))} {links}<br>{usage}</p>'


def _theme_switch(frame: Frame) -> str:
    """Draw three buttons for `web/live/shell.js`, since the browser keeps the theme."""
    buttons = "".join(
        f'<button type="button" data-naru-theme="{theme}" aria-pressed="false">{escape(frame.words.t(key))}</button>'
        for theme, key in THEMES.items()
    )
    label = escape(frame.words.t("sidebar.theme"), quote=True)
    return f'<div class="naru-theme" role="group" aria-label="{label}">{buttons}</div>'
