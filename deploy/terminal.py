"""Output to a terminal, which untrusted text must not control or break.

A model's answer may contain escape sequences. They can move the cursor, set the title, and make some terminals type a
reply. A file or a pipe gets the text as the model wrote it.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TextIO

#: Longer than any accepted question. Without a limit, endless input would fill the memory.
LONGEST_INPUT = 16_000_000
_SHOWN = 300
_KEPT = "\n\t"


def _sign_for(code: int) -> str | None:
    """Return the replacement of a control character; None for a character that is harmless."""
    character = chr(code)
    if character == "\r":
        return ""  # part of a line end; alone it would overwrite the line
    if character in _KEPT:
        return None
    if code < 32:
        return chr(0x2400 + code)
    if code == 127:
        return "\u2421"
    is_control = unicodedata.category(character) == "Cc"
    is_bidi_control = unicodedata.bidirectional(character) in {
        "LRE",
        "RLE",
        "LRO",
        "RLO",
        "PDF",
        "LRI",
        "RLI",
        "FSI",
        "PDI",
    }
    return "\ufffd" if is_control or is_bidi_control else None


_SIGNS = {code: sign for code in range(0x2070) if (sign := _sign_for(code)) is not None}


def visible(text: str) -> str:
    """Replace each control character except line feed and tab with a visible one."""
    return text.translate(_SIGNS)


def line(text: str) -> str:
    """Make a sentence that quotes input safe: replace control characters, and shorten it to a few lines."""
    shown = visible(text)
    return shown if len(shown) <= 2 * _SHOWN else f"{shown[:_SHOWN]} … {shown[-_SHOWN:]}"


def json_line(report: object) -> str:
    """Return `report` as one line of JSON, with control characters escaped."""
    text = json.dumps(report, ensure_ascii=False)
    return "".join(f"\\u{ord(sign):04x}" if ord(sign) in _SIGNS else sign for sign in text)


def write(stream: TextIO, text: str) -> None:
    """Write a model's text; on a terminal, make control characters visible."""
    stream.write(visible(text) if stream.isatty() else text)


def tolerate_every_character() -> None:
    """Write characters that the terminal's encoding lacks as escapes, instead of raising.

    Undecodable input bytes become surrogates, which are stored as U+FFFD.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")
