"""Find Streamlit's JavaScript files: those of the first page, and those that only an answer needs.

Streamlit's build writes manifest.json, which lists each file with its imports. Naming them all in the document saves
three rounds of requests, because otherwise a browser discovers a file only through the one that imports it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import streamlit

STREAMLIT = Path(streamlit.__file__).with_name("static")
ENTRY = "index.html"
#: Streamlit's elements on an empty page. An unlisted one works too, but loads a round of requests later.
FIRST_PAGE = ("BidiComponent", "Button", "ButtonGroup", "ChatInput", "Html", "Selectbox")
#: Half a megabyte for code and formulas. The page loads it when idle, so that no answer waits for it.
LATE = ("StreamlitSyntaxHighlighter", "rehype-katex")


@cache
def first_page() -> tuple[str, ...]:
    """Return the first page's files that index.html does not name, as paths below Streamlit's static folder."""
    begun = _with_imports([ENTRY])
    return tuple(path for path in _with_imports(_keys(FIRST_PAGE)) if path not in begun)


@cache
def late() -> tuple[str, ...]:
    """Return the files that the page loads when idle; a browser loads their imports with them."""
    return tuple(_manifest()[key]["file"] for key in _keys(LATE))


@cache
def of_a_visit() -> tuple[Path, ...]:
    """Return every JavaScript file that a visit loads, the smallest first."""
    paths = _with_imports([ENTRY, *_keys(FIRST_PAGE), *_keys(LATE)])
    return tuple(sorted((STREAMLIT / path for path in paths), key=lambda path: path.stat().st_size))


@cache
def _manifest() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((STREAMLIT / "manifest.json").read_text(encoding="utf-8"))
    return found


def _keys(names: Iterable[str]) -> list[str]:
    """Return the manifest's keys of the files that drawing an element of this name imports."""
    wanted = set(names)
    return [key for key, file in _manifest().items() if file.get("isDynamicEntry") and file.get("name") in wanted]


def _with_imports(keys: Iterable[str]) -> list[str]:
    """Return the files of these keys and of all their imports, each once."""
    found: list[str] = []
    waiting = list(keys)
    while waiting:
        file = _manifest()[waiting.pop(0)]
        if file["file"] not in found:
            found.append(file["file"])
            waiting += file.get("imports", [])
    return found
