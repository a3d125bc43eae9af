"""The empty page: the name, one sentence, and four suggested questions in the person's language."""

from __future__ import annotations

import streamlit as st

from web.views.chat.composer import ask
from web.views.frame import Frame

QUESTIONS = ("empty.1", "empty.2", "empty.3", "empty.4")
ICONS = (":material/lightbulb:", ":material/edit:", ":material/code:", ":material/balance:")


def draw(frame: Frame) -> None:
    """Draw the page. A click on a question submits it."""
    t = frame.words.t
    with st.container(key="empty"):
        st.html(f"<h1>{t('empty.heading')}</h1><p>{t('app.tagline')}</p>")
        with st.container(key="first-questions"):
            for key, icon in zip(QUESTIONS, ICONS, strict=True):
                text = t(f"{key}.text")
                st.button(
                    f"**{t(f'{key}.title')}**  \n{text}",
                    key=f"first-{key[-1]}",
                    icon=icon,
                    on_click=ask,
                    args=(frame, text),
                    width="stretch",
                )
