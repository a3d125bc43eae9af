"""What is written to a person's terminal, and read from it: no text of a stranger controls it, and none breaks it.

A model's answer may hold escape sequences: they move the cursor, set the title, and some terminals type them back.
Where the output is no terminal (a file, a pipe) the text is as the model wrote it.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TextIO

#: More than any question that is accepted; a stream without an end would fill the memory.
LONGEST_INPUT = 16_000_000
_SHOWN = 300
_KEPT = "\n\t"


def _sign_for(code: int) -> str | None:
    """What is shown for a character that a terminal would obey; None for one that is shown as it is."""
    character = chr(code)
    if character == "\r":
        return ""  # of a line's end; alone it would write over the line
    if character in _KEPT:
        return None
    if code < 32:
        return chr(0x2400 + code)
    if code == 127:
        return "\u2421"
    is_control = unicodedata.category(character) == "Cc"
    turns = unicodedata.bidirectional(character) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return "\ufffd" if is_control or turns else None


_SIGNS = {code: sign for code in range(0x2070) if (sign := _sign_for(code)) is not None}


def visible(text: str) -> str:
    """`text` with a sign in the place of each control character but line feed and tab."""
    return text.translate(_SIGNS)


def line(text: str) -> str:
    """A sentence that may quote what was typed: nothing in it is obeyed, and it is not longer than a few lines."""
    shown = visible(text)
    return shown if len(shown) <= 2 * _SHOWN else f"{shown[:_SHOWN]} … {shown[-_SHOWN:]}"


def json_line(report: object) -> str:
    """`report` as JSON on one line, in which a terminal obeys nothing either: JSON has an escape for each character."""
    text = json.dumps(report, ensure_ascii=False)
    return "".join(f"\\u{ord(sign):04x}" if ord(sign) in _SIGNS else sign for sign in text)


def write(stream: TextIO, text: str) -> None:
    """Write a model's text: as it is, or made visible where a person's terminal would obey it."""
    stream.write(visible(text) if stream.isatty() else text)


def tolerate_every_character() -> None:
    """A character that the terminal's encoding lacks is written as its escape, and never raises; a byte that it cannot
    read becomes U+FFFD where the question is stored."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")
