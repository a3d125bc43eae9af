"""Separates a model's reasoning from its text.

Servers send reasoning in fields of its own, which the readers note, or between `<think>` and `</think>` at the
beginning of the text. A `<think>` further on is text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workers.providers.base import Thought
from workers.providers.sdk.mending import Mender

_TEXT_KINDS = ("text", "output_text")
_OPENING = ("<think>", "<thinking>")


class Sorter:
    """Sorts the pieces of one stream into reasoning and text."""

    def __init__(self) -> None:
        self._tag, self._mender = _Tag(), Mender()
        self._held = ""
        #: Whether a piece without noted reasoning must be sorted too: at the beginning, and while text is held.
        self.is_busy = True

    def sort(self, text: str, noted: list[str], *, is_last: bool) -> str:
        """Return a Thought if the piece has reasoning, else its text; the text after a Thought is held.

        `noted` is the reasoning that the reader found in the piece, and is emptied. With `is_last`, no text follows.
        """
        thought = self._mender.mend("".join(noted)) if noted else ""
        noted.clear()
        if not self._tag.is_done:
            inside, text = self._tag.split(text, is_last=is_last)
            thought += inside
        self._held += text
        self.is_busy = bool(thought and self._held) or not self._tag.is_done
        return Thought(thought) if thought else self.rest()

    def rest(self) -> str:
        """Return the text that is held."""
        text, self._held = self._held, ""
        self.is_busy = not self._tag.is_done
        return text


class _Tag:
    """Finds reasoning between tags at the beginning of a text that arrives in pieces of any size."""

    def __init__(self) -> None:
        self.is_done = False
        self._buffer = ""
        #: The tag that ends the reasoning; empty before it begins and after it has ended.
        self._closing = ""
        self._has_closed = False

    def split(self, text: str, *, is_last: bool) -> tuple[str, str]:
        """Return the reasoning and the text in this piece, as far as they can be told apart yet."""
        self._buffer += text
        thought = ""
        if not self._closing and not self._has_closed:
            self._open()
        if self._closing:
            thought = self._inside(is_last=is_last)
        if self._closing or self.is_done:
            rest, self._buffer = ("", self._buffer) if self._closing else (self._buffer, "")
            return thought, rest
        return thought, self._after(is_last=is_last)

    def _open(self) -> None:
        begun = self._buffer.lstrip()
        for tag in _OPENING:
            if begun.startswith(tag):
                self._closing = tag.replace("<", "</")
                self._buffer = begun.removeprefix(tag)
                return
        self.is_done = bool(begun) and not any(tag.startswith(begun) for tag in _OPENING)

    def _inside(self, *, is_last: bool) -> str:
        """Take the reasoning from the buffer; keep what may be the beginning of the closing tag."""
        thought, closing, after = self._buffer.partition(self._closing)
        if closing:
            self._closing, self._has_closed, self._buffer = "", True, after
            return thought
        kept = 0 if is_last else _overlap(self._buffer, self._closing)
        self._buffer = thought[len(thought) - kept :]
        return thought[: len(thought) - kept]

    def _after(self, *, is_last: bool) -> str:
        """Return the text after the reasoning without the space before it; before a tag, nothing until the end."""
        text = self._buffer.lstrip() if self._has_closed else self._buffer
        if is_last or (self._has_closed and text):
            self.is_done, self._buffer = True, ""
            return text
        return ""


def _overlap(text: str, tag: str) -> int:
    """Return how much of the end of `text` may be the beginning of `tag`."""
    return next((length for length in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:length])), 0)


def reasoning_in(delta: dict[str, Any]) -> str:
    """Return the reasoning in a delta of Chat Completions. A server that sends it under two names sends it twice."""
    for name in ("reasoning_content", "reasoning"):
        if (thought := delta.get(name)) and isinstance(thought, str):
            return thought
    return ""


def sorted_parts(parts: Iterable[Any]) -> tuple[str, str]:
    """Return the reasoning and the text of a content that is a list of parts. Other kinds of parts are left out.

    Raises TypeError for a part of text that holds none.
    """
    thoughts: list[str] = []
    texts: list[str] = []
    for part in parts:
        kind = "text" if isinstance(part, str) else part.get("type", "text")
        if kind == "thinking":
            inside = part.get("thinking") or ""
            thoughts.append(inside if isinstance(inside, str) else sorted_parts(inside)[1])
        elif kind in _TEXT_KINDS:
            text = part if isinstance(part, str) else part.get("text") or ""
            if not isinstance(text, str):
                raise TypeError("a part that is not text")
            texts.append(text)
    return "".join(thoughts), "".join(texts)
