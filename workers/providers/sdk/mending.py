"""Makes a model's text storable: JSON allows lone surrogates, which UTF-8 does not, and NUL, which Postgres does not.

Some servers cut an emoji in two and send its halves (`\\ud83d`, `\\ude00`) in two deltas. A half whose other half
does not follow becomes U+FFFD; at the end of the stream it is dropped. Nothing else in the text changes.
"""

from __future__ import annotations

from dataclasses import replace

from shared.messages import Message
from workers.providers.base import Prompt


class Mender:
    """Mends the deltas of one stream, and keeps half a character until its other half comes."""

    def __init__(self) -> None:
        self._half = ""

    def mend(self, text: str | None) -> str:
        """Return `text` without NUL and lone surrogates; the result may be empty."""
        if not text:
            return ""
        if text.isascii() and "\0" not in text and not self._half:
            return text
        text = self._half + text.replace("\0", "")
        self._half = ""
        try:
            text.encode()
        except UnicodeEncodeError:
            if "\ud800" <= text[-1] <= "\udbff":
                text, self._half = text[:-1], text[-1]
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text


def sendable(prompt: Prompt) -> Prompt:
    """Return `prompt` with U+FFFD for each lone surrogate and each NUL in its texts, which servers refuse."""
    messages = tuple(
        each if (text := _sendable(each.text)) == each.text else Message.of_text(each.role, text, end=each.end)
        for each in prompt.messages
    )
    return replace(prompt, messages=messages, system=prompt.system and _sendable(prompt.system))


def _sendable(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
