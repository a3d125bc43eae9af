"""Finds the line of a key in a TOML document, which `tomllib` does not tell."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line, from 1, on which the statement begins that gives the key at this path. The text is valid TOML.

    It parses beginnings of the text: the shortest one that has the key ends with that statement. A beginning that ends
    within a statement does not parse.
    """
    lines = text.split("\n")
    before, low, high = 0, 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        probe, has_key = middle, None
        while probe > low and (has_key := _has("\n".join(lines[:probe]), keys)) is None:
            probe -= 1
        if has_key:
            high = probe
        else:
            low = middle
            before = probe if has_key is False else before
    return before + 1


def _has(text: str, keys: Sequence[str]) -> bool | None:
    """Whether the document has the key; None if it is not valid."""
    try:
        found: object = tomllib.loads(f"{text}\n")
    except tomllib.TOMLDecodeError:
        return None
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True
