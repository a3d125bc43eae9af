"""The page's frame: what every run does before and around the chat, and where every error ends.

Streamlit runs this file at each click. What stands on the page is in `views/`, what it remembers in `state.py`;
nothing here waits for an answer (`live/` shows it, a worker makes it).
"""

from __future__ import annotations

import logging
from pathlib import Path

import streamlit as st

from shared import logs
from shared.errors import NaruError
from shared.words import Words
from web import state
from web.pages import notices
from web.pages.chat import chat
from web.pages.frame import Frame

STYLE = Path(__file__).with_name("style.css")
SIDEBAR_PX = 280


log = logging.getLogger("web.page")


def main() -> None:
    """Draw the page, or one sentence that says why not."""
    with logs.bound(**state.log_ids()):
        draw()


def draw() -> None:
    """The page's frame, and the chat in it."""
    words = Words(state.locale())
    st.set_page_config(
        layout="centered",
        initial_sidebar_state=SIDEBAR_PX,
        menu_items={"About": f"**{words.t('app.name')}** — {words.t('app.tagline')}"},
    )
    if not state.has_routes():  # else the document has it already
        st.html(STYLE)
    try:
        frame = Frame.of(words)
        if frame is None:
            if state.has_browser():
                log.info("page without identity")
            notices.sentence(words.t("notice.bad_cookie" if state.is_cookie_unusable() else "notice.no_identity"))
            return
        chat.draw(frame)
        frame.runtime.page_was_drawn()
    except NaruError as error:
        notices.refused(words, error)
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a sentence
        notices.incident(words, error)


main()
