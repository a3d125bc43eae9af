"""Tables, durations and names of this page, as HTML. Everything that comes from elsewhere is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from uuid import UUID

import streamlit as st

from shared.operating.requests import RequestNow
from shared.words import Words
from web import state
from web.markdown.bounds import strip_bidi_controls

MINUTE, HOUR, DAY = 60, 3600, 86_400


def plain(text: str) -> str:
    """Return the text as HTML that shows its characters and nothing else."""
    return escape(strip_bidi_controls(text), quote=True)


def heading(text: str) -> None:
    """Draw a heading of a section."""
    st.html(f'<h2 class="naru-section">{plain(text)}</h2>')


def table(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. `rows` are HTML. On a narrow screen it scrolls sideways, also with the keyboard."""
    head = "".join(f'<th scope="col">{plain(each)}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return (
        f'<div class="naru-table" role="region" aria-label="{plain(name)}" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def bar(share: float, text: str) -> str:
    """Return a number with a bar of this share, 0 to 1."""
    return f'<span class="naru-meter" style="--share:{min(max(share, 0), 1):.3f}"></span>{plain(text)}'


def duration(words: Words, seconds: float | None) -> str:
    """Return a time span in its largest unit; "" for None."""
    if seconds is None:
        return ""
    if seconds < 2 * MINUTE:
        return words.t("live.seconds", n=round(seconds))
    if seconds < 2 * HOUR:
        return words.t("live.minutes", n=round(seconds / MINUTE))
    if seconds < 2 * DAY:
        return words.t("admin.hours", n=round(seconds / HOUR))
    return words.t("admin.days", n=round(seconds / DAY))


def since(words: Words, then: datetime | None) -> str:
    """Return how long ago this was; "" for None."""
    return "" if then is None else duration(words, max(0.0, (datetime.now(then.tzinfo) - then).total_seconds()))


def clock(then: datetime) -> str:
    """Return the time of day where the browser is, with seconds."""
    return f"{then.astimezone(state.timezone()):%H:%M:%S}"


def short(value: UUID) -> str:
    """Return enough of an id to tell a few apart."""
    return str(value)[:8]


def owner(request: RequestNow) -> str:
    """Return the person's e-mail address, or else the kind of owner and the beginning of its id."""
    kind, _, owner_id = request.owner_key.partition(":")
    return request.email or (f"{kind} {owner_id[:8]}" if owner_id else kind)
