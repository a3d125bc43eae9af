"""Show errors as sentences, with the text that was kept and one button. No traceback reaches the page.

An unexpected error gets an id, which the page shows and the log contains.
"""

from __future__ import annotations

import logging
from html import escape
from uuid import uuid4

import streamlit as st

from shared.errors import NaruError, OverLimit, PersonalData, Refused, TooLong
from shared.spending.refusals import SpendingReached
from shared.words import Words
from web import state
from web.asgi.cookies import Verdict
from web.state.values import Notice

log = logging.getLogger(__name__)


def notice_of(error: NaruError, *, is_text_kept: bool = False) -> Notice:
    """Return the notice for a refusal, with its values."""
    values: dict[str, object] = {}
    advice = ""
    if isinstance(error, TooLong):
        values = {"length": error.length, "limit": error.limit}
    elif isinstance(error, OverLimit):
        values = {"limit": error.limit, "seconds": error.seconds}
    if isinstance(error, SpendingReached) and error.until is not None:
        values |= {"until": error.until.astimezone(state.timezone()), "contact": error.contact}
        advice = "notice.again_from_contact" if error.contact else "notice.again_from"
    elif isinstance(error, PersonalData):
        advice = "notice.remove_it" if error.is_final else "notice.send_again"
    return Notice(error.code, values, is_text_kept=is_text_kept, advice=advice)


def of_instructions(error: PersonalData) -> Notice:
    """Return the notice for instructions that seem to hold personal data or a key."""
    return Notice("instructions_private", advice="notice.remove_it_here" if error.is_final else "notice.save_again")


def unforeseen(error: Exception, *, is_text_kept: bool = False) -> Notice:
    """Log the error with an id, and return a notice that shows the id."""
    incident_id = uuid4().hex[:12]
    log.error("page failed", exc_info=error, extra={"action": "page_failed", "incident_id": incident_id})
    return Notice("internal", incident_id=incident_id, is_text_kept=is_text_kept)


def text(words: Words, notice: Notice) -> str:
    """Return the sentence, what to do, and what was kept."""
    parts = [words.error(notice.code, **notice.values)]
    if notice.advice:
        parts.append(words.t(notice.advice, **notice.values))
    if notice.is_text_kept:
        parts.append(words.t("notice.kept"))
    return " ".join(parts)


def show(words: Words, notice: Notice) -> None:
    """Draw a box with the sentence, the text that was kept, and the id."""
    sentence(text(words, notice), notice.id)
    if notice.incident_id:
        st.caption(words.t("notice.id", id=notice.incident_id))


def sentence(text: str, notice_id: str = "") -> None:
    """Draw a sentence in a box. The browser hides a notice once read, until its id changes."""
    st.html(f'<div class="naru-notice" role="alert" data-naru-notice="{notice_id}">{escape(text)}</div>')


def stranger(words: Words, verdict: Verdict) -> None:
    """Draw a page for a browser without an owner: why, and what to do."""
    keys = {Verdict.SIGNED_OUT: "notice.signed_out", Verdict.UNKNOWN: "error.unavailable"}
    keys |= dict.fromkeys((Verdict.FORGED, Verdict.DOUBLED), "notice.bad_cookie")
    sentence(words.t(keys.get(verdict, "notice.no_identity")))
    here = place = f"c={state.conversation_id()}"
    if state.page() == state.ADMIN_PAGE:
        part = state.part(state.ADMIN_PARTS)
        here, place = f"page={state.ADMIN_PAGE}&part={part}", f"c={state.ADMIN_PAGE}-{part}"
    if verdict is Verdict.SIGNED_OUT:
        _way(f"./sign-in?{place}", words.t("notice.sign_in"))
    elif verdict is Verdict.UNKNOWN:
        _way(f"./?{here}", words.t("notice.reload"))


def way_to_chats(words: Words) -> None:
    """Draw a link to the chats, which loads the whole page."""
    _way("./", words.t("account.back"))


def _way(address: str, text: str) -> None:
    st.html(f'<a class="naru-way" href="{escape(address)}">{escape(text)}</a>')


def refused(words: Words, error: NaruError) -> None:
    """Draw a page with only this sentence and a button to a new chat."""
    if not isinstance(error, Refused):
        log.error("page refused", extra={"action": "page_refused", "code": error.code})
    _title(words)
    show(words, notice_of(error))
    way_out(words)


def way_out(words: Words) -> None:
    """Draw a button to a new chat."""
    st.button(words.t("sidebar.new"), key="way-out", icon=":material/edit_square:", on_click=state.leave_conversation)


def incident(words: Words, error: Exception) -> None:
    """Draw a page with only an apology and an id."""
    _title(words)
    show(words, unforeseen(error))
    st.button(words.t("notice.reload"), key="reload", icon=":material/refresh:")


def _title(words: Words) -> None:
    """Draw a heading for screen readers only."""
    st.html(f'<h1 class="naru-spoken">{escape(words.t("app.name"))}</h1>')
