"""Streamlit's JavaScript files: those that the first page loads, and those that only an answer needs.

Streamlit's build writes manifest.json, which names each file with its imports. Without it a browser learns of a file
only when the file that imports it has come: four rounds of requests on the way to the composer.
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
#: Streamlit's elements on an empty page. One that is missing here still comes, a round of requests later.
FIRST_PAGE = ("BidiComponent", "Button", "ButtonGroup", "ChatInput", "Html", "Selectbox")
#: What draws code and formulas, half a megabyte: loaded when the page is at rest, before the first answer ends.
LATE = ("StreamlitSyntaxHighlighter", "rehype-katex")


@cache
def first_page() -> tuple[str, ...]:
    """The files of the first page, as paths below Streamlit's static folder, without those in its index.html."""
    begun = _with_imports([ENTRY])
    return tuple(path for path in _with_imports(_keys(FIRST_PAGE)) if path not in begun)


@cache
def late() -> tuple[str, ...]:
    """The files that the page loads once it is at rest, imports first left out: they are loaded with them."""
    return tuple(_manifest()[key]["file"] for key in _keys(LATE))


@cache
def of_a_visit() -> tuple[Path, ...]:
    """Every JavaScript file that a visit loads, the largest last: what is compressed ahead of time."""
    paths = _with_imports([ENTRY, *_keys(FIRST_PAGE), *_keys(LATE)])
    return tuple(sorted((STREAMLIT / path for path in paths), key=lambda path: path.stat().st_size))


@cache
def _manifest() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((STREAMLIT / "manifest.json").read_text(encoding="utf-8"))
    return found


def _keys(names: Iterable[str]) -> list[str]:
    """The manifest's keys of the files that are imported when an element of this name is first drawn."""
    wanted = set(names)
    return [key for key, file in _manifest().items() if file.get("isDynamicEntry") and file.get("name") in wanted]


def _with_imports(keys: Iterable[str]) -> list[str]:
    """The files of these keys and of all that they import, each once."""
    found: list[str] = []
    waiting = list(keys)
    while waiting:
        file = _manifest()[waiting.pop(0)]
        if file["file"] not in found:
            found.append(file["file"])
            waiting += file.get("imports", [])
    return found
