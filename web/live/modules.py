"""The browser's side as it is sent: plain files, joined into single ES modules, so that nobody needs a build step.

Not here: the component that Streamlit mounts (component.py), the routes (web/routes/front.py).
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from web.asgi.representation import version_of
from web.words import LOCALES, Words

HERE = Path(__file__).parent
LIVE = ("copy.js", "sent.js", "draft.js", "links.js", "bounds.js", "markdown.js", "stream.js", "live.js")
EARLY = ("bounds.js", "markdown.js", "stream.js", "early.js")
SHELL = ("shell.js",)


@cache
def bundle(names: tuple[str, ...] = LIVE) -> str:
    """One ES module made of these files, in this order; those that others import come first."""
    vendored = (HERE / "vendor" / "marked.js").read_text(encoding="utf-8")
    parts = [
        "const marked = (() => { const module = { exports: {} }; const exports = module.exports;\n",
        vendored,
        "\nreturn module.exports; })();\n",
    ]
    return "".join(parts) + _joined(names)


@cache
def shell_bundle() -> str:
    """The module of the page's head, with the words that it needs."""
    words = json.dumps({locale: Words(locale).group("streamlit.") for locale in LOCALES}, ensure_ascii=False)
    return f"const FOREIGN_WORDS = {words};\n{_joined(SHELL)}"


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
