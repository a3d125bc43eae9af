"""The page's script, which Streamlit runs at each click. Every error ends here.

`web/views/` draws the page, and `web/state/` is its memory. Nothing waits for an answer: a worker makes it, and
`web/live/` shows it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import streamlit as st

from shared import logs
from shared.errors import NaruError
from shared.words import Words
from web import state
from web.views import notices
from web.views.admin import admin
from web.views.chat import chat
from web.views.frame import Frame

STYLE = Path(__file__).with_name("style.css")
SIDEBAR_PX = 280


log = logging.getLogger("web.page")


def main() -> None:
    """Run the page with the connection's ids in the log."""
    with logs.bound(**state.log_ids()):
        draw()


def draw() -> None:
    """Draw the page in the address, or one sentence if that is not possible."""
    words = Words(state.locale())
    st.set_page_config(
        layout="centered",
        initial_sidebar_state=SIDEBAR_PX,
        menu_items={"About": f"**{words.t('app.name')}** — {words.t('app.tagline')}"},
    )
    if not state.has_routes():  # otherwise the document includes it
        st.html(STYLE)
    try:
        frame = Frame.of(words)
        if frame is None:
            if state.has_browser():
                log.info("page without identity")
            notices.stranger(words, state.verdict())
            return
        if state.page() == state.ADMIN_PAGE:
            admin.draw(frame)
        else:
            chat.draw(frame)
        frame.runtime.page_was_drawn()
    except NaruError as error:
        notices.refused(words, error)
    except Exception as error:  # noqa: BLE001 - the last place where an error can become a sentence
        notices.incident(words, error)


main()
