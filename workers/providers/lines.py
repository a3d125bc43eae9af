"""Finds the line of a key in a TOML document, which `tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence

#: The signs that tell where a statement ends: texts, comments, brackets and the ends of lines.
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|#[^\n]*|[\[\]{}\n]''', re.DOTALL
)


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line, from 1, on which the statement begins that gives the key at this path.

    The text is valid TOML. Each statement is parsed once. A path that is not there is on line 1.
    """
    table: list[str] | None = []
    for line, statement in _statements(text):
        found = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _path_of(found)
            if _has(found, keys):
                return line
        elif table is not None and table == list(keys[: len(table)]) and _has(found, keys[len(table) :]):
            return line
    return 1


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with its first line. An empty line and a comment are statements too."""
    begin, depth, first, line = 0, 0, 1, 1
    for token in _TOKEN.finditer(text):
        line += token[0].count("\n")
        depth += (token[0] in "[{") - (token[0] in "]}")
        if token[0] == "\n" and depth == 0:
            yield first, text[begin : token.end()]
            begin, first = token.end(), line
    yield first, text[begin:]


def _path_of(found: object) -> list[str] | None:
    """Return the path of the table that a header opens; None for an element of an array."""
    path: list[str] = []
    while isinstance(found, dict) and found:
        ((key, found),) = found.items()
        path.append(key)
    return path if isinstance(found, dict) else None


def _has(found: object, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return bool(keys)
