"""Make page.css: Streamlit's stylesheet with our fonts, and our own style.

Streamlit's page would load 375 kB of icons, and 171 kB of a font that our theme replaces a moment later. Our icons are
a subset of the same font (`web/static/fonts/icons/`). The text is Pretendard, whose subsets a browser loads on demand.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from web.asgi.representation import version_of
from web.shell.chunks import STREAMLIT

OURS = Path(__file__).parents[1] / "static"
STYLE = OURS.parent / "style.css"
TEXT_FONT = "fonts/pretendard/pretendard.css"
ICON_FONT = "fonts/icons/MaterialSymbolsRounded.subset.woff2"
_FACE = re.compile(r"@font-face\s*\{[^}]*\}")
_FOREIGN = re.compile(r"font-family:\s*\"?Source (Sans|Serif|Code)")
_ICONS = re.compile(r"font-family:\s*\"?Material Symbols")
_URL = re.compile(r"url\(\./([^)]+)\)")


@cache
def stylesheet() -> str:
    """Return the complete stylesheet. Serve it at the root, since its URLs are relative to that."""
    theirs = next((STREAMLIT / "static" / "css").glob("index.*.css")).read_text(encoding="utf-8")
    theirs = _FACE.sub(_without_their_fonts, theirs).replace("url(../media/", "url(./static/media/")
    folder = Path(TEXT_FONT).parent
    ours = (OURS / TEXT_FONT).read_text(encoding="utf-8")
    ours = _URL.sub(lambda found: f"url({address_of(f'{folder.as_posix()}/{found[1]}')})", ours)
    return "\n".join((theirs, ours, STYLE.read_text(encoding="utf-8")))


def address_of(name: str) -> str:
    """Return the URL of a file in web/static, relative to the root. It contains a hash, so it never expires."""
    return f"./app/static/{name}?v={version_of((OURS / name).read_bytes())}"


def _without_their_fonts(face: re.Match[str]) -> str:
    if _FOREIGN.search(face[0]):
        return ""
    return re.sub(r"url\([^)]*\)", f"url({address_of(ICON_FONT)})", face[0]) if _ICONS.search(face[0]) else face[0]
