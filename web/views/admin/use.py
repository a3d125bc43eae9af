"""Answers, failures, first texts and use by model, of the last hour or day.

The bars are HTML and CSS: Streamlit's own charts would load 860 kB of JavaScript first, and a screen reader reads a
table.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import streamlit as st

from shared.operating.use import MOST_READ, Counts, Span, Use, use_of
from shared.words import Words
from web import state
from web.views.admin.showing import bar, heading, plain, table
from web.views.frame import Frame

REFRESH_SECONDS = 60.0
SPANS = {Span.HOUR: "admin.span_hour", Span.DAY: "admin.span_day"}


def draw(frame: Frame) -> None:
    """Draw the use of the chosen span."""
    words, t = frame.words, frame.words.t
    st.segmented_control(
        t("admin.span"),
        [span.value for span in SPANS],
        key=state.ADMIN_SPAN,
        default=Span.HOUR.value,
        format_func=lambda value: t(SPANS[Span(value)]),
        label_visibility="collapsed",
        required=True,
    )
    span = Span.DAY if state.chosen(state.ADMIN_SPAN, Span.HOUR.value) == Span.DAY else Span.HOUR
    use = use_of(frame.engine, span)
    if use.is_cut:
        st.html(f'<p class="naru-notice">{plain(t("admin.use_cut", number=MOST_READ))}</p>')
    heading(t("admin.answers"))
    st.html(_over_time(words, use, span))
    heading(t("admin.failures"))
    st.html(_failures(words, use))
    heading(t("admin.by_model"))
    st.html(_by_model(words, use))


def _over_time(words: Words, use: Use, span: Span) -> str:
    t = words.t
    most = max((part.ended for part in use.by_part), default=0) or 1
    slowest = max((part.first_text_slow or 0 for part in use.by_part), default=0) or 1
    now = datetime.now(state.timezone())
    rows = [
        (
            f"{now - timedelta(seconds=span.part_seconds * (number + 1)):%H:%M}",
            bar(part.ended / most, words.number(part.ended)),
            plain(words.number(part.failed)),
            plain(words.number(part.cancelled)),
            bar((part.first_text_median or 0) / slowest, _seconds(words, part.first_text_median)),
            bar((part.first_text_slow or 0) / slowest, _seconds(words, part.first_text_slow)),
        )
        for number, part in enumerate(use.by_part)
    ]
    heads = ("admin.from", "admin.ended", "admin.failed", "admin.stopped", "admin.first_median", "admin.first_slow")
    whole = use.whole
    total = (
        plain(t("admin.whole")),
        plain(words.number(whole.ended)),
        plain(words.number(whole.failed)),
        plain(words.number(whole.cancelled)),
        _seconds(words, whole.first_text_median),
        _seconds(words, whole.first_text_slow),
    )
    return table(t("admin.answers"), [t(each) for each in heads], [total, *rows])


def _failures(words: Words, use: Use) -> str:
    if not use.failed_by_code:
        return f"<p>{plain(words.t('admin.no_failures'))}</p>"
    most = use.failed_by_code[0][1]
    rows = [
        (f"<code>{plain(code)}</code>", bar(number / most, words.number(number)), plain(words.error(code)))
        for code, number in use.failed_by_code
    ]
    heads = ("admin.reason", "admin.number", "admin.sentence")
    return table(words.t("admin.failures"), [words.t(each) for each in heads], rows)


def _by_model(words: Words, use: Use) -> str:
    if not use.by_model:
        return f"<p>{plain(words.t('admin.no_use'))}</p>"
    most = use.by_model[0][1].ended or 1
    rows = [
        (
            plain(model),
            bar(counts.ended / most, words.number(counts.ended)),
            plain(words.number(counts.input_tokens)),
            plain(_cached(counts)),
            plain(words.number(counts.output_tokens)),
        )
        for model, counts in use.by_model
    ]
    heads = ("admin.model", "admin.ended", "admin.input_tokens", "admin.cached_tokens", "admin.output_tokens")
    return table(words.t("admin.by_model"), [words.t(each) for each in heads], rows)


def _cached(counts: Counts) -> str:
    return f"{counts.cached_input_tokens / counts.input_tokens:.0%}" if counts.input_tokens else ""


def _seconds(words: Words, value: float | None) -> str:
    return "" if value is None else plain(words.t("live.seconds", n=f"{value:.1f}"))
