"""The live answer as a Streamlit component (Custom Component v2, no iframe): its files, its mount, its triggers.

Not here: what the browser does with the events (`*.js` beside this file) and what the page does at a trigger
(`web/pages/chat`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import streamlit as st

from web import state
from web.live.modules import HERE, bundle, live_address
from web.state.values import Asked

_HTML = (HERE / "live.html").read_text(encoding="utf-8")
#: Streamlit sends a component's script over the WebSocket at each load of the page, uncompressed: 140 kB. This one
#: fetches the module, which the browser keeps. A relative address would be looked for below the blob that this becomes.
_LOADER = f"""
const {{ default: draw }} = await import(new URL({live_address()!r}, document.baseURI));
export default draw;
"""
_component = st.components.v2.component("naru_live", html=_HTML, js=_LOADER, isolate_styles=False)
#: Where our routes are not there: a plain `streamlit run`.
_whole = st.components.v2.component("naru_live_whole", html=_HTML, js=bundle(), isolate_styles=False)


def live_answer(
    *,
    place: Mapping[str, Any],
    settled: list[str],
    active: str | None,
    question: Asked,
    max_characters: int,
    dialog: Mapping[str, Any] | None,
    decided: Mapping[str, str] | None,
    labels: Mapping[str, str],
    locale: str,
    locale_choice: str | None,
    on_change: Callable[[], None],
    on_open: Callable[[], None],
    on_unsure: Callable[[], None],
    on_decided: Callable[[], None],
) -> None:
    """Mount the live answer.

    `on_change` runs when it learned of a request the page lacks, or when one has ended; `on_open` when a link to
    another conversation was clicked; `on_unsure` when the browser heard nothing of a question that it sent;
    `on_decided` when a dialog was decided. `place` is where the page is (`web/pages/chat/chat.py`).
    """
    data: dict[str, Any] = {
        **place,
        "settled": settled,
        "active": active,
        **asdict(question),
        "max_characters": max_characters,
        "dialog": dialog,
        "decided": decided,
        "labels": dict(labels),
        "locale": locale,
        "locale_choice": locale_choice,
    }
    # In a list: in a dictionary Streamlit looks for data frames, and imports pandas to know one (80 MB, half a second).
    (_component if state.has_routes() else _whole)(
        key=state.LIVE,
        data=[data],
        on_started_change=on_change,
        on_ended_change=on_change,
        on_opened_change=on_open,
        on_unsure_change=on_unsure,
        on_decided_change=on_decided,
    )
