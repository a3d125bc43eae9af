"""How much of an answer the page draws, and how deep: what every browser can draw within a few seconds.

A model may send a megabyte of table rows, ten thousand quotes within each other or as many opened brackets. Whatever is
over these bounds is text: Markdown's own rules would take minutes with it, or the browser's whole stack. No honest
answer comes near them. The live twin is in `live/bounds.js`, with the same numbers.
Not here: what the Markdown means (`markdown/`).
"""

from __future__ import annotations

import re

#: What an answer may cost to draw: each character 1, and these as many elements as they make.
MOST = 500_000
COSTS = {"\n": 20, "|": 100, "*": 10, "_": 10, "`": 10, "~": 10, "[": 10}
#: Quotes and lists within each other in one line.
DEEPEST = 20
WIDEST_INDENT = 2 * DEEPEST
#: Marks of emphasis, code and links in one paragraph.
MOST_MARKS = 1000
#: Characters of one paragraph: some of Markdown's rules look from each to the end.
LONGEST_PARAGRAPH = 10_000
_MARKS = "*_`~["
_CONTAINER = re.compile(r"[ \t]*(?:>|(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t]))")
_RULE = re.compile(r"[ \t]*([-*_])(?:[ \t]*\1)+[ \t]*")
_COMBINING = (
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]"
)
_TURN = re.compile("[\u202a-\u202e\u2066-\u2069]")
_FLOOD = re.compile(f"({_COMBINING}{{8}}){_COMBINING}+")


def beginning(text: str) -> str:
    """As much of `text`, from its start, as can be drawn; all of it for any usual answer."""
    if len(text) + sum(text.count(sign) * cost for sign, cost in COSTS.items()) <= MOST:
        return text
    spent = 0
    for at, sign in enumerate(text):
        spent += 1 + COSTS.get(sign, 0)
        if spent > MOST:
            return text[:at]
    return text


def without_floods(text: str) -> str:
    """`text` with at most eight combining marks on a character: more only climb over the lines around."""
    return _FLOOD.sub(r"\1", text)


def without_turns(text: str) -> str:
    """`text` without what turns the direction of the words that stand around it: for a title within a sentence."""
    return _TURN.sub("", text)


def marks(text: str) -> int:
    """How many marks there are that Markdown tries to pair."""
    return sum(map(text.count, _MARKS))


def shallow(line: str) -> str:
    """A line of Markdown that opens no more quotes and lists within each other than can be drawn."""
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
