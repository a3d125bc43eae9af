"""The stored messages of the branch: questions and finished answers, with their outcome and actions.

Most messages take two elements, and only the last one has widgets, so that hundreds of messages stay cheap. The running
answer is drawn by `web/live/`.
"""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import streamlit as st

from shared.conversations import Opened
from shared.errors import UNSERVED, AuthFailed, ModelNotFound, Overloaded, QuotaExhausted, RateLimited
from shared.following.phases import told_apart
from shared.messages import Message, RequestEnd
from shared.operating.figures import Figures
from shared.tables import Status
from web import state
from web.markdown import to_streamlit
from web.markdown.bounds import beginning, strip_bidi_controls
from web.views.chat import debug
from web.views.chat.composer import again
from web.views.chat.picker import short_name
from web.views.frame import Frame

#: Finish reasons of providers that get a remark of their own.
FINISHES = ("length", "content_filter", "refusal")
#: The remark below the answer of a model that stood in, by the code of the reason.
AWAY = {
    RateLimited.code: "answer.instead.busy",
    Overloaded.code: "answer.instead.busy",
    QuotaExhausted.code: "answer.instead.quota",
    AuthFailed.code: "answer.instead.key",
    ModelNotFound.code: "answer.instead.gone",
    UNSERVED: "answer.instead.gone",
}
DEMO_PREFIX = "demo/"
#: For an answer whose request is gone.
_UNKNOWN_END = RequestEnd(status=Status.SUCCEEDED)


def draw(frame: Frame, opened: Opened) -> None:
    """Draw the messages, oldest first, below a heading for screen readers; the sidebar shows the title."""
    title = escape(strip_bidi_controls(opened.title) or frame.words.t("sidebar.untitled"))
    st.html(f'<h1 class="naru-spoken">{title}</h1>')
    if opened.has_earlier:
        st.button(
            frame.words.t("history.earlier"),
            key="earlier",
            type="tertiary",
            icon=":material/expand_less:",
            on_click=state.widen_window,
        )
    last = opened.messages[-1].id if opened.messages else None
    figures = debug.figures(frame, opened)
    for message in opened.messages:
        if message.role == "user":
            _question(frame, message)
        else:
            found = None if message.request_id is None else figures.get(message.request_id)
            _answer(frame, message, is_last=message.id == last and opened.active is None, figures=found)


def _question(frame: Frame, message: Message) -> None:
    label = escape(frame.words.t("history.question"))
    st.html(f'<div class="naru-question" dir="auto"><h2 class="naru-spoken">{label}</h2>{escape(message.text)}</div>')


def _answer(frame: Frame, message: Message, *, is_last: bool, figures: Figures | None) -> None:
    end = message.end or _UNKNOWN_END
    with st.container(key=f"answer-{message.request_id}"):
        if (end.thought_seconds or end.has_reasoning) and state.has_routes():
            st.html(_thought(frame, message, end.thought_seconds))
        shown = beginning(message.text)
        if message.text and end.status == Status.FAILED:
            st.caption(frame.words.t("answer.partial"))
            with st.container(key=f"partial-{message.request_id}"):
                st.markdown(to_streamlit(shown))
        elif message.text:
            st.markdown(to_streamlit(shown))
        remark = _remark(frame, message.text, end)
        if shown != message.text:
            remark += _mark(frame.words.t("answer.beginning"))
        remark += _fallback(frame, message.text, end)
        if is_last and end.left_out:
            remark += _mark(frame.words.t("answer.left_out", n=end.left_out))
        remark += debug.line(frame.words, figures)
        if remark:
            st.html(remark)
        if not is_last:
            row = _copy(frame, message.text) + _badge(frame, end) + _meta(frame, message, end)
            st.html(f'<div class="naru-actions">{row}</div>')
            return
        with st.container(key="last-actions", horizontal=True, vertical_alignment="center"):
            if message.text:
                st.html(_copy(frame, message.text))
            failed = end.status == Status.FAILED
            st.button(
                frame.words.t("answer.again" if failed else "answer.regenerate"),
                key="again",
                type="secondary" if failed else "tertiary",
                icon=":material/refresh:",
                on_click=again,
                args=(frame, message.id),
            )
            st.html(f'<span class="naru-about">{_badge(frame, end)}{_meta(frame, message, end)}</span>')


def _thought(frame: Frame, message: Message, seconds: float | None) -> str:
    """Return the fold with the model's reasoning, whose text `web/live/thoughts.js` loads."""
    whole = max(1, int(seconds or 0))
    duration = f"{whole // 60}:{whole % 60:02}"
    words = escape(frame.words.t("live.thought", duration=duration) if seconds else frame.words.t("answer.thought"))
    return (
        f'<details class="naru-thought" data-naru-request="{message.request_id}">'
        f'<summary class="naru-thought-words">{words}</summary>'
        '<div class="naru-thought-text" dir="auto"></div></details>'
    )


def _remark(frame: Frame, text: str, end: RequestEnd) -> str:
    t = frame.words.t
    if end.status == Status.FAILED:
        why = escape(frame.words.error(end.error_code))
        return f'<div class="naru-remark naru-failed" role="note">{why}</div>'
    if end.status == Status.CANCELLED:
        return _mark(t("answer.stopped" if text else "answer.stopped_empty"))
    if end.finish == "length" and not text and end.thought_seconds is not None:
        counted = end.output_tokens
        return _mark(t("answer.thought_only", n=counted) if counted else t("answer.thought_only_uncounted"))
    if end.finish in FINISHES:
        return _mark(t(f"answer.{end.finish}"))
    if end.earlier_answer_at is not None:
        return _mark(t("answer.earlier", time=frame.words.time(end.earlier_answer_at.astimezone(state.timezone()))))
    return "" if text else _mark(t("answer.empty"))


def _fallback(frame: Frame, text: str, end: RequestEnd) -> str:
    """Return the remark that another model answered than the chosen one, and why; "" where it did not."""
    if end.asked_model is None or end.status == Status.FAILED or (end.status == Status.CANCELLED and not text):
        return ""
    model, asked = told_apart(end.model or "", end.asked_model)
    return _mark(frame.words.t(AWAY.get(end.asked_code or "", "answer.instead.away"), model=model, asked=asked))


def _mark(text: str) -> str:
    return f'<div class="naru-remark" role="note">{escape(text)}</div>'


def _copy(frame: Frame, text: str) -> str:
    if not text:
        return ""
    # Percent-encoded, because Streamlit's sanitizer drops attributes that contain `-->` or a closing tag.
    copy, copied = (escape(frame.words.t(f"answer.{key}"), quote=True) for key in ("copy", "copied"))
    return (
        f'<button type="button" class="naru-copy" title="{copy}" aria-label="{copy}" data-naru-copied="{copied}" '
        f'data-naru-copy="{quote(text)}"></button>'
    )


def _badge(frame: Frame, end: RequestEnd) -> str:
    if not (end.model or "").startswith(DEMO_PREFIX):
        return ""
    return f'<span class="naru-badge">{escape(frame.words.t("demo.badge"))}</span>'


def _meta(frame: Frame, message: Message, end: RequestEnd) -> str:
    words = [short_name(end.model or "")]
    if message.created_at is not None:
        words.append(frame.words.time(message.created_at.astimezone(state.timezone())))
    return f'<span class="naru-meta">{escape(" · ".join(words))}</span>'
