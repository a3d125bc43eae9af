"""The reasoning of one attempt as the worker has it: its text, and how long the model thought.

Readers are told only that the model thinks, and for how long. Its words reach Postgres with the answer (decision 0050).
"""

from __future__ import annotations

from time import monotonic

#: Longest reasoning that is kept, in code points: about 60,000 English tokens. The rest is counted as time only.
LONGEST_REASONING = 250_000
#: Ends a reasoning that was cut.
CUT_MARK = "\n\n[…]"
#: How often readers are told again how long the model has thought, for those that come later.
TELL_SECONDS = 2.0


class Thought(str):
    """A piece of reasoning in a provider's stream; any other string there is text of the answer."""

    __slots__ = ()


class Thinking:
    """The reasoning of one attempt. A model may think several times, also between two pieces of text."""

    __slots__ = ("_parts", "_passed", "_room", "_since", "_told_at", "began_at", "offset")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._room = LONGEST_REASONING
        self._passed = 0.0
        #: When the model began to think; None while it writes.
        self._since: float | None = None
        self._told_at = 0.0
        #: When it first began to think, on the monotonic clock.
        self.began_at = 0.0
        #: How much text the model had written when it last began to think.
        self.offset = 0

    def add(self, thought: str, *, offset: int) -> bool:
        """Append a piece, with the length of the text before it. Return whether readers should be told now."""
        now = monotonic()
        if self._room >= 0:
            self._parts.append(thought[: self._room])
            self._room -= len(thought)
        if self._since is None:
            self._since, self.offset = now, offset
            self.began_at = self.began_at or now
        elif now - self._told_at < TELL_SECONDS:
            return False
        self._told_at = now
        return True

    def pause(self) -> bool:
        """Note that the model writes. Return whether it was thinking until now."""
        if self._since is None:
            return False
        self._passed += monotonic() - self._since
        self._since = None
        return True

    @property
    def seconds(self) -> float:
        """How long the model has thought, in all."""
        return self._passed + (0.0 if self._since is None else monotonic() - self._since)

    def text(self) -> str:
        """Return the reasoning without the space around it; one that is too long ends in CUT_MARK."""
        text = "".join(self._parts).strip()
        return text + CUT_MARK if self._room < 0 else text
