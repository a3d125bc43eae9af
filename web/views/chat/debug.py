"""The debug panel (NARU_DEBUG_PANEL), for administrators: figures of each answer, and the session's values."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from uuid import UUID

from shared.conversations import Opened
from shared.errors import Unavailable
from shared.operating.figures import Figures, cache_use_of, figures_of
from shared.people.accounts import Role
from shared.words import Words
from web import state
from web.views.frame import Frame


def is_shown(frame: Frame) -> bool:
    """Whether this person sees the panel. It shows one's own answers only, so the role at the connection will do."""
    return frame.runtime.settings.debug_panel and state.role() == Role.ADMIN


def figures(frame: Frame, opened: Opened) -> Mapping[UUID, Figures]:
    """Return the figures of the answers on display; none without the panel, or while the database is away."""
    if not is_shown(frame):
        return {}
    asked = [message.request_id for message in opened.messages if message.request_id is not None]
    try:
        return figures_of(frame.engine, asked, owner=frame.owner)
    except Unavailable:
        return {}


def line(words: Words, found: Figures | None) -> str:
    """Return the line under an answer as HTML; "" without figures."""
    if found is None:
        return ""
    parts = [words.t("debug.attempt", n=found.attempt)]
    if found.first_text_seconds is not None:
        parts.append(words.t("debug.first_text", n=f"{found.first_text_seconds:.2f}"))
    if found.whole_seconds is not None:
        parts.append(words.t("debug.whole", n=f"{found.whole_seconds:.2f}"))
    if found.input_tokens is not None and found.output_tokens is not None:
        share = (found.cached_input_tokens or 0) / found.input_tokens if found.input_tokens else 0.0
        tokens = {"input": found.input_tokens, "output": found.output_tokens, "share": f"{share:.0%}"}
        parts.append(words.t("debug.tokens", **tokens))
    return f'<p class="naru-debug">{escape(" · ".join(parts))}</p>'


def session(frame: Frame) -> str:
    """Return the use of the answer cache, and the names and kinds of the session's values, as HTML.

    The values stay out: some are what a person typed.
    """
    words = frame.words
    lines = "".join(f"<li>{escape(name)}: {escape(kind)}</li>" for name, kind in state.held())
    summary = f"<summary>{escape(words.t('debug.session'))}</summary>"
    return f'{_cache(frame)}<details class="naru-debug">{summary}<ul tabindex="0">{lines}</ul></details>'


def _cache(frame: Frame) -> str:
    """Return the hit rate of the answer cache; "" where it was not asked, or while the database is away."""
    try:
        use = cache_use_of(frame.engine, frame.owner)
    except Unavailable:
        return ""
    if not use.asked:
        return ""
    said = frame.words.t("debug.cache", hits=use.hits, asked=use.asked, share=f"{use.hits / use.asked:.0%}")
    return f'<p class="naru-debug-cache">{escape(said)}</p>'
