"""The live answer as a Streamlit component (Custom Component v2, no iframe): its files, its mount, its triggers.

Not here: what the browser does with the events (`*.js` beside this file) and what the page does at a trigger
(`web/views`).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from web import state

HERE = Path(__file__).parent
MODULES = ("copy.js", "draft.js", "links.js", "markdown.js", "stream.js", "live.js")


def bundle() -> str:
    """One ES module made of the plain files: Streamlit takes a single one, and nobody needs a build step."""
    vendored = (HERE / "vendor" / "marked.js").read_text(encoding="utf-8")
    parts = [
        "const marked = (() => { const module = { exports: {} }; const exports = module.exports;\n",
        vendored,
        "\nreturn module.exports; })();\n",
    ]
    for name in MODULES:
        source = (HERE / name).read_text(encoding="utf-8")
        source = re.sub(r"^import .*;\n", "", source, flags=re.MULTILINE)
        parts.append(re.sub(r"^export (?!default)", "", source, flags=re.MULTILINE))
    return "".join(parts)


_component = st.components.v2.component(
    "naru_live",
    html=(HERE / "live.html").read_text(encoding="utf-8"),
    js=bundle(),
    isolate_styles=False,
)


def live_answer(
    *,
    conversation_id: str | None,
    settled: list[str],
    active: str | None,
    labels: Mapping[str, str],
    locale: str,
    locale_choice: str | None,
    on_change: Callable[[], None],
    on_open: Callable[[], None],
) -> None:
    """Mount the live answer.

    `on_change` runs when it learned of a request the page lacks, or when one has ended; `on_open` when a link to
    another conversation was clicked.
    """
    data: dict[str, Any] = {
        "conversation_id": conversation_id,
        "settled": settled,
        "active": active,
        "labels": dict(labels),
        "locale": locale,
        "locale_choice": locale_choice,
    }
    # In a list: in a dictionary Streamlit looks for data frames, and imports pandas to know one (80 MB, half a second).
    _component(
        key=state.LIVE, data=[data], on_started_change=on_change, on_ended_change=on_change, on_opened_change=on_open
    )
