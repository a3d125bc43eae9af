"""The form that sets and clears the banner."""

from __future__ import annotations

from functools import partial

import streamlit as st

from shared.operating.banner import LONGEST_BANNER, clear_banner, read_banner, set_banner
from shared.people.sessions import SignedIn
from web import state
from web.views.admin import deciding
from web.views.admin.showing import plain
from web.views.frame import Frame


def draw(frame: Frame) -> None:
    """Draw the banner as it is now, and the boxes for the next one."""
    t = frame.words.t
    deciding.draw(frame)
    banner = read_banner(frame.engine)
    st.html(f"<p>{plain(t('admin.banner_about'))}</p>")
    if banner is None:
        st.html(f"<p>{plain(t('admin.banner_none'))}</p>")
    else:
        lines = "".join(f"<p><strong>{plain(line)}</strong></p>" for line in (banner.en, banner.ko) if line)
        st.html(f'<div class="naru-done">{lines}</div>')
        st.button(
            t("admin.banner_clear"), key="admin-banner-clear", on_click=partial(deciding.act, frame, "banner", _clear)
        )
    for key, label in ((state.ADMIN_BANNER_KO, "admin.banner_ko"), (state.ADMIN_BANNER_EN, "admin.banner_en")):
        st.text_input(t(label), key=key, max_chars=LONGEST_BANNER)
    st.button(
        t("admin.banner_set"),
        key="admin-banner-set",
        type="primary",
        on_click=partial(deciding.act, frame, "banner", _set),
    )


def _set(frame: Frame, _: SignedIn) -> deciding.Done:
    made = set_banner(
        frame.engine, en=state.chosen(state.ADMIN_BANNER_EN, ""), ko=state.chosen(state.ADMIN_BANNER_KO, "")
    )
    if made is None:
        return deciding.Done(frame.words.t("admin.banner_bad", number=LONGEST_BANNER))
    state.clear(state.ADMIN_BANNER_EN, state.ADMIN_BANNER_KO)
    return deciding.Done(frame.words.t("admin.banner_shown"))


def _clear(frame: Frame, _: SignedIn) -> deciding.Done:
    clear_banner(frame.engine)
    return deciding.Done(frame.words.t("admin.banner_cleared"))
