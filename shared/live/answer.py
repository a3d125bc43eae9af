"""The text of one attempt as the worker has it, and the part that the live stream has.

Used in the worker's event loop; other threads may call only `LiveAnswer.text()` and `length`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from uuid import UUID

from shared.live.events import Event, Kind, key_of
from shared.live.thinking import Thinking, Thought

#: Called when an answer has text to send; `urgent` for its first.
Wake = Callable[["LiveAnswer", bool], None]


class LiveAnswer:
    """The growing text of one attempt, and the position up to which the stream has it."""

    __slots__ = (
        "_length",
        "_parts",
        "_sent",
        "_sent_before",
        "_sent_parts",
        "_sent_parts_before",
        "_wake",
        "attempt",
        "entries",
        "first_text_at",
        "has_thought_news",
        "key",
        "request_id",
        "thinking",
        "whole",
    )

    def __init__(self, request_id: UUID, attempt: int, *, wake: Wake) -> None:
        self.request_id, self.attempt = request_id, attempt
        self.key = key_of(request_id)
        self._wake = wake
        self._parts: list[str] = []
        self._length = 0
        self._sent, self._sent_parts = 0, 0
        #: The position before the last send, for `take_back`.
        self._sent_before, self._sent_parts_before = 0, 0
        #: Number of entries in the stream since its last snapshot.
        self.entries = 0
        #: False when the stream may lack text that was sent: a snapshot is due.
        self.whole = True
        #: When the first text came, on the monotonic clock.
        self.first_text_at: float | None = None
        #: None until the model thinks.
        self.thinking: Thinking | None = None
        #: Whether readers should be told of the thinking.
        self.has_thought_news = False

    def add(self, text: str) -> bool:
        """Append text or a Thought, and return False if it is empty. The first text is sent at once."""
        if not text:
            return False
        if text.__class__ is Thought:
            self._think(text)
            return True
        if not self._length:
            self.first_text_at = monotonic()
        if self.thinking is not None and self.thinking.pause():
            self.has_thought_news = True
        self._parts.append(text)
        self._length += len(text)
        self._wake(self, self._length == len(text))
        return True

    def _think(self, thought: str) -> None:
        is_first = self.thinking is None
        if self.thinking is None:
            self.thinking = Thinking()
        if self.thinking.add(thought, offset=self._length):
            self.has_thought_news = True
            self._wake(self, is_first)

    def thought(self) -> Event | None:
        """Return how long the model has thought so far, and count it as told. None if it has not."""
        self.has_thought_news = False
        if self.thinking is None:
            return None
        milliseconds = str(round(self.thinking.seconds * 1000))
        return Event(Kind.THOUGHT, self.attempt, self.thinking.offset, milliseconds)

    def text(self) -> str:
        """Return the whole text so far. Any thread may call this."""
        return "".join(self._parts)

    @property
    def length(self) -> int:
        """The length of the text in code points."""
        return self._length

    @property
    def unsent_length(self) -> int:
        """The number of code points that the stream lacks."""
        return self._length - self._sent if self.whole else self._length

    def delta(self, most: int) -> Event | None:
        """Return text that the stream lacks, at most `most` code points, and count it as sent. None if there is none.

        A single piece of text that a provider sent is never split.
        """
        if self._sent_parts == len(self._parts):
            return None
        self._sent_before, self._sent_parts_before = self._sent, self._sent_parts
        until = len(self._parts)
        if self._length - self._sent > most:
            until = self._sent_parts + 1
            room = most - len(self._parts[self._sent_parts])
            while until < len(self._parts) and len(self._parts[until]) <= room:
                room -= len(self._parts[until])
                until += 1
        text = "".join(self._parts[self._sent_parts : until])
        event = Event(Kind.DELTA, self.attempt, self._sent, text)
        self._sent, self._sent_parts = self._sent + len(text), until
        return event

    def snapshot(self, most: int) -> Event:
        """Return the text from its beginning, at most `most` code points, and count it as sent; deltas follow."""
        self._sent, self._sent_parts = 0, 0
        begun = self.delta(most)
        self.whole = True
        return Event(Kind.SNAPSHOT, self.attempt, text=begun.text if begun else "")

    def take_back(self) -> None:
        """Count the last delta as not sent. Readers cut what they get twice."""
        self._sent, self._sent_parts = self._sent_before, self._sent_parts_before
