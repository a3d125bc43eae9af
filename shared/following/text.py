"""Folds the events of a live stream into the text of one attempt.

Events may arrive out of order, twice or not at all. The text is always a prefix of one attempt's answer, so it never
has a gap or a repetition. Offsets are Unicode code points. No Redis, no Postgres, no clock.
"""

from __future__ import annotations

from bisect import bisect_right

from shared.live.events import Event, Kind

#: Most deltas kept for later. A worker sends a snapshot about every 500 entries, so more would be useless.
MAX_EARLY = 600
#: Number of chunks at which they are joined into one, so that appending and reading the end stay cheap.
MAX_CHUNKS = 256


class LiveText:
    """The present attempt and its text so far, shared by all viewers of the request."""

    __slots__ = ("_chunks", "_early", "_starts", "_thought_at", "attempt", "length", "thought_seconds")

    def __init__(self) -> None:
        self.attempt = 0
        self.length = 0
        self._chunks: list[str] = []
        self._starts: list[int] = []
        self._early: dict[int, str] = {}
        #: The seconds that the model had thought when it last said so; None if it has not.
        self.thought_seconds: float | None = None
        self._thought_at = -1

    def fold(self, event: Event) -> bool:
        """Apply one event of the stream; returns whether anything changed. An end changes nothing."""
        if event.kind is Kind.DELTA:
            return self.delta(event.attempt, event.offset, event.text)
        if event.kind is Kind.SNAPSHOT:
            return self.whole(event.attempt, event.text)
        if event.kind is Kind.THOUGHT:
            return self.thought(event.attempt, event.offset, event.text)
        return event.kind is Kind.START and self.start(event.attempt)

    def start(self, attempt: int) -> bool:
        """Start an attempt; returns whether anything changed."""
        if attempt <= self.attempt:
            return False
        self._begin(attempt)
        return True

    def delta(self, attempt: int, offset: int, text: str) -> bool:
        """Add text at `offset`: append it, cut an overlap, or keep it for later beyond the end."""
        if attempt == self.attempt and offset == self.length and text and not self._early:
            self._append(text)  # the usual case
            return True
        if attempt < self.attempt or offset < 0:
            return False
        changed = self.start(attempt)
        if offset > self.length:
            if len(self._early) < MAX_EARLY:
                self._early[offset] = max(text, self._early.get(offset, ""), key=len)
            return changed
        return self._extend(text[self.length - offset :]) or changed

    def whole(self, attempt: int, text: str) -> bool:
        """Add an attempt's text from its beginning: a snapshot, or a checkpoint from Postgres."""
        return self.delta(attempt, 0, text)

    def thought(self, attempt: int, offset: int, milliseconds: str) -> bool:
        """Note how long the model has thought by now, lately at `offset` of its text."""
        if attempt < self.attempt or not milliseconds.isdecimal():
            return False
        self.start(attempt)
        seconds = int(milliseconds) / 1000
        if self.thought_seconds is not None and seconds < self.thought_seconds:
            return False  # an older entry, read again
        self.thought_seconds, self._thought_at = seconds, offset
        return True

    @property
    def is_thinking(self) -> bool:
        """Whether the model thinks now, as far as it is known: it has written nothing since."""
        return self._thought_at == self.length

    def since(self, offset: int) -> str:
        """Return the text from `offset` on; the cost depends on the length returned, not on the whole text."""
        if offset >= self.length:
            return ""
        first = bisect_right(self._starts, offset) - 1
        head = self._chunks[first][offset - self._starts[first] :]
        return head if first + 1 == len(self._chunks) else head + "".join(self._chunks[first + 1 :])

    def _begin(self, attempt: int) -> None:
        self.attempt = attempt
        self.length = 0
        self._chunks, self._starts, self._early = [], [], {}
        self.thought_seconds, self._thought_at = None, -1

    def _extend(self, text: str) -> bool:
        if not text:
            return False
        self._append(text)
        while self._early and (offset := min(self._early)) <= self.length:
            late = self._early.pop(offset)[self.length - offset :]
            if late:
                self._append(late)
        return True

    def _append(self, text: str) -> None:
        if len(self._chunks) == MAX_CHUNKS:
            self._chunks, self._starts = ["".join(self._chunks)], [0]
        self._chunks.append(text)
        self._starts.append(self.length)
        self.length += len(text)
