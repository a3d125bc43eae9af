"""The browser's side as it is sent: plain files, joined into single ES modules, so that nobody needs a build step.

Not here: the component that Streamlit mounts (component.py), the routes (web/api/front.py).
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

import streamlit

from shared.words import LOCALES, Words
from web.asgi.representation import version_of

HERE = Path(__file__).parent
MARKDOWN = (
    *("bounds.js", "formulas.js", "blocks.js", "inline.js", "rewrite.js"),
    *("typeset.js", "colours.js", "markdown.js"),
)
LIVE = (
    *("copy.js", "focus.js", "sent.js", "draft.js", "composer.js", "links.js", "connection.js", "dialog.js"),
    *("reading.js", "wording.js", *MARKDOWN, "stream.js", "live.js"),
)
EARLY = (*MARKDOWN, "stream.js", "early.js")
SHELL = ("shell.js",)


@cache
def bundle(names: tuple[str, ...] = LIVE) -> str:
    """One ES module made of these files, in this order; those that others import come first."""
    vendored = (HERE / "vendor" / "micromark.js").read_text(encoding="utf-8")
    addresses = f"const KATEX = {json.dumps(katex_address())};\nconst COLOURS = {json.dumps(colours_address())};\n"
    return f"{addresses}{vendored}{_joined(names)}"


@cache
def shell_bundle() -> str:
    """The module of the page's head, with the words that it needs."""
    words = json.dumps({locale: Words(locale).group("streamlit.") for locale in LOCALES}, ensure_ascii=False)
    return f"const FOREIGN_WORDS = {words};\n{_joined(SHELL)}"


@cache
def colours() -> str:
    """The module that colours code, with the languages that models write most."""
    return (HERE / "vendor" / "prism.js").read_text(encoding="utf-8")


def colours_address() -> str:
    """Return its address, relative to the page; it names the content."""
    return f"./colours.js?v={version_of(colours().encode())}"


def katex_address() -> str:
    """The address, below the page's, of the module that Streamlit typesets formulas with; "" where it has none.

    A private part of Streamlit: a unified plugin, whose interface is public, in a file whose name changes. Taking it
    saves 260 kB that the ended answer would load a second time, and makes live formulas exactly as high as ended ones.
    Without it they are shown as their source until the answer has ended. Tested in `tests/fuzz/test_renderers.py`.
    """
    static = Path(streamlit.__file__).with_name("static")
    found = sorted(static.glob("static/js/rehype-katex.*.js"))
    return found[0].relative_to(static).as_posix() if len(found) == 1 else ""


def live_address() -> str:
    """Return the address of the live answer's module, relative to the page; it names the content."""
    return f"./live.js?v={version_of(bundle().encode())}"


def _joined(names: tuple[str, ...]) -> str:
    """Return these files as one, without the imports and exports between them."""
    parts = []
    for name in names:
        source = (HERE / name).read_text(encoding="utf-8")
        source = re.sub(r"^import .*;\n", "", source, flags=re.MULTILINE)
        parts.append(re.sub(r"^export (?!default)", "", source, flags=re.MULTILINE))
    return "".join(parts)
