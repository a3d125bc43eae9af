"""Join the JavaScript files into single ES modules, without a build step.

`component.py` is the component that Streamlit mounts, `web/api/front.py` has the routes.
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
    *(
        "copy.js",
        "focus.js",
        "sent.js",
        "draft.js",
        "composer.js",
        "links.js",
        "connection.js",
        "dialog.js",
        "thoughts.js",
    ),
    *("reading.js", "wording.js", *MARKDOWN, "stream.js", "live.js"),
)
EARLY = (*MARKDOWN, "stream.js", "early.js")
SHELL = ("banner.js", "shell.js")


@cache
def bundle(names: tuple[str, ...] = LIVE) -> str:
    """Join these files into one ES module, in this order: imported files come first."""
    vendored = (HERE / "vendor" / "micromark.js").read_text(encoding="utf-8")
    addresses = f"const KATEX = {json.dumps(katex_address())};\nconst COLOURS = {json.dumps(colours_address())};\n"
    return f"{addresses}{vendored}{_joined(names)}"


@cache
def shell_bundle() -> str:
    """Return the module of the page's head, with its words."""
    words = json.dumps({locale: Words(locale).group("streamlit.") for locale in LOCALES}, ensure_ascii=False)
    return f"const FOREIGN_WORDS = {words};\n{_joined(SHELL)}"


@cache
def colours() -> str:
    """Return the module that colours code, with the languages that models write most."""
    return (HERE / "vendor" / "prism.js").read_text(encoding="utf-8")


def colours_address() -> str:
    """Return the URL of that module, relative to the page. It contains a hash of the content."""
    return f"./colours.js?v={version_of(colours().encode())}"


def katex_address() -> str:
    """Return the path of the module with which Streamlit typesets formulas, relative to the page; "" if not found.

    The module is private to Streamlit: a unified plugin (a public interface) in a file whose name changes. Sharing it
    saves loading 260 kB twice, and makes live formulas exactly as high as those of finished answers. Without it,
    formulas are shown as their source until the answer has ended. `tests/fuzz/test_renderers.py` tests it.
    """
    static = Path(streamlit.__file__).with_name("static")
    found = sorted(static.glob("static/js/rehype-katex.*.js"))
    return found[0].relative_to(static).as_posix() if len(found) == 1 else ""


def live_address() -> str:
    """Return the URL of the live answer's module, relative to the page. It contains a hash of the content."""
    return f"./live.js?v={version_of(bundle().encode())}"


def _joined(names: tuple[str, ...]) -> str:
    """Concatenate these files without the imports and exports between them."""
    parts = []
    for name in names:
        source = (HERE / name).read_text(encoding="utf-8")
        source = re.sub(r"^import .*;\n", "", source, flags=re.MULTILINE)
        parts.append(re.sub(r"^export (?!default)", "", source, flags=re.MULTILINE))
    return "".join(parts)
