"""Limits on the length and nesting of an answer, so that every browser can draw it within a few seconds.

A model may send a megabyte of table rows, or ten thousand nested quotes or brackets. Parsing them would take minutes or
overflow the browser's stack, so anything beyond these limits is shown as text. No honest answer comes near them.
`web/live/bounds.js` is the live twin, with the same numbers.
"""

from __future__ import annotations

import re

#: The highest cost of drawing an answer. A character costs 1, plus the elements that it may create.
MOST = 500_000
COSTS = {"\n": 20, "|": 100, "*": 10, "_": 10, "`": 10, "~": 10, "[": 10}
#: Nested quotes and lists in one line.
DEEPEST = 20
WIDEST_INDENT = 2 * DEEPEST
#: Marks of emphasis, code and links in one paragraph.
MOST_MARKS = 1000
#: Characters of one paragraph: some of Markdown's rules search from each one to the end.
LONGEST_PARAGRAPH = 10_000
_MARKS = "*_`~["
_CONTAINER = re.compile(r"[ \t]*(?:>|(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t]))")
_RULE = re.compile(r"[ \t]*([-*_])(?:[ \t]*\1)+[ \t]*")
_COMBINING = (
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]"
)
_BIDI_CONTROL = re.compile("[\u202a-\u202e\u2066-\u2069]")
_FLOOD = re.compile(f"({_COMBINING}{{8}}){_COMBINING}+")


def beginning(text: str) -> str:
    """Return the beginning of `text` that can be drawn; for any usual answer, everything."""
    if len(text) + sum(text.count(sign) * cost for sign, cost in COSTS.items()) <= MOST:
        return text
    spent = 0
    for at, sign in enumerate(text):
        spent += 1 + COSTS.get(sign, 0)
        if spent > MOST:
            return text[:at]
    return text


def without_floods(text: str) -> str:
    """Return `text` with at most eight combining marks per character, since more cover adjacent lines."""
    return _FLOOD.sub(r"\1", text)


def strip_bidi_controls(text: str) -> str:
    """Remove characters that change the direction of surrounding text, for a title within a sentence."""
    return _BIDI_CONTROL.sub("", text)


def marks(text: str) -> int:
    """Count the marks that Markdown tries to pair."""
    return sum(map(text.count, _MARKS))


def shallow(line: str) -> str:
    """Return the line with its nesting of quotes and lists limited to DEEPEST."""
    if len(line) <= DEEPEST:
        return line
    rest = line.lstrip(" \t")
    if len(line) - len(rest) > WIDEST_INDENT:
        line = " " * WIDEST_INDENT + rest
    at = 0
    for _ in range(DEEPEST):
        found = _CONTAINER.match(line, at)
        if not found:
            return line
        at = found.end()
    found = _CONTAINER.match(line, at)
    if not found or _RULE.fullmatch(line):
        return line
    return f"{line[: found.end() - 1]}\\{line[found.end() - 1 :]}"
