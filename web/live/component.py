"""The live answer as a Streamlit component (Custom Component v2, without an iframe).

The `*.js` files beside this one handle the events in the browser, and `web/views/chat` handles the triggers.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import streamlit as st

from web import state
from web.live.modules import HERE, bundle, live_address
from web.state.values import Asked

_HTML = (HERE / "live.html").read_text(encoding="utf-8")
#: Streamlit sends a component's script (140 kB) uncompressed over the WebSocket at each page load. This loader imports
#: the module instead, which the browser caches. It runs from a blob, so a relative URL would not resolve.
_LOADER = f"""
const {{ default: draw }} = await import(new URL({live_address()!r}, document.baseURI));
export default draw;
"""
_component = st.components.v2.component("naru_live", html=_HTML, js=_LOADER, isolate_styles=False)
#: Used without our routes, in a plain `streamlit run`.
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

    `on_change` runs when the browser learns of a request that the page lacks, or of an end; `on_open` when a link to
    another conversation is clicked; `on_unsure` when a sent question got no confirmation; `on_decided` when a dialog
    is answered. `place` identifies the conversation (`web/views/chat/chat.py`).
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
    # A list, because Streamlit searches a dictionary for data frames, and imports pandas (80 MB, half a second) for
    # that.
    (_component if state.has_routes() else _whole)(
        key=state.LIVE,
        data=[data],
        on_started_change=on_change,
        on_ended_change=on_change,
        on_opened_change=on_open,
        on_unsure_change=on_unsure,
        on_decided_change=on_decided,
    )
