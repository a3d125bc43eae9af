"""The state that the viewers of a conversation share, and the position of each viewer.

A viewer keeps a position instead of a queue. Its pending text is cut from the shared text when it can be sent, so a
slow browser costs no memory and never gets a gap or a repeated character. `watcher.py` calls `wake`, and
`web/api/events.py` sends the bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from shared.following.phases import State, state_of
from shared.following.sweep import Row
from shared.following.text import LiveText
from shared.people import Owner
from web.watch import frames
from web.watch.frames import Cursor

#: Ended requests that a viewer can still be told about. More never end between two of its frames.
KEPT_ENDS = 4


class LiveStream:
    """A watched request: its text, the position in its Redis stream, and its conversation."""

    __slots__ = ("conversation", "heard_at", "last_id", "request_id", "text")

    def __init__(self, request_id: UUID, conversation: Conversation, *, now: float) -> None:
        self.request_id = request_id
        self.conversation = conversation
        self.text = LiveText()
        # Read from the beginning, never from `$`: text from before the first viewer is part of the answer.
        self.last_id = "0-0"
        self.heard_at = now

    def frame_after(self, cursor: Cursor | None) -> tuple[Cursor, bytes] | None:
        """Return the cursor after the pending text, and its frame; None when nothing is pending.

        A cursor of another attempt gets a snapshot. A cursor that is ahead of us (another process sent more) waits.
        """
        text = self.text
        if not text.length:
            return None
        name, here = str(self.request_id), Cursor(self.request_id, text.attempt, text.length)
        if cursor is None or cursor[:2] != here[:2]:
            return here, frames.snapshot(name, text.attempt, text.since(0))
        if cursor.offset >= text.length:
            return None
        return here, frames.delta(name, text.attempt, cursor.offset, text.since(cursor.offset))


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that ended while it was watched."""

    serial: int
    row: Row
    stream: LiveStream | None


class Conversation:
    """The state that all viewers of one conversation share."""

    __slots__ = ("_ends", "_serial", "id", "owner", "read_at", "row", "state", "stream", "viewers")

    def __init__(self, conversation_id: UUID) -> None:
        self.id = conversation_id
        #: None until it is read from Postgres; until then viewers are sent nothing.
        self.owner: Owner | None = None
        self.viewers: set[Viewer] = set()
        self.row: Row | None = None
        self.read_at = 0.0
        self.stream: LiveStream | None = None
        #: None until the first sweep, so that no page shows "idle" prematurely.
        self.state: State | None = None
        self._ends: deque[Ended] = deque(maxlen=KEPT_ENDS)
        self._serial = 0

    def note_end(self, row: Row, stream: LiveStream | None) -> None:
        """Record that the request of `row` ended. Each viewer is told once, after its pending text."""
        if any(each.row.request_id == row.request_id for each in self._ends):
            return
        self._serial += 1
        self._ends.append(Ended(self._serial, row, stream))

    def ends_after(self, serial: int) -> list[Ended]:
        """Return the ended requests after `serial`."""
        return [each for each in self._ends if each.serial > serial] if serial < self._serial else []

    @property
    def serial_for_newcomers(self) -> int:
        """The serial that a new viewer starts from. It is told of the last end again, since its page may be older."""
        return max(0, self._serial - 1)

    def refresh(self, *, slow: bool) -> bool:
        """Recompute the state. Return whether viewers must be told."""
        live = self.stream.text if self.stream else None
        heard_at = self.stream.heard_at if self.stream else 0.0
        fresh = state_of(self.row, live, read_at=self.read_at, slow=slow, heard_at=heard_at)
        if not fresh.is_news(self.state):
            return False
        self.state = fresh
        return True

    def wake(self) -> None:
        """Wake every viewer."""
        for viewer in self.viewers:
            viewer.wake()


def _not_yet() -> bool:
    return False


class Viewer:
    """One open connection of one browser to one conversation."""

    __slots__ = (
        "_serial",
        "_shown",
        "_woken",
        "client",
        "conversation",
        "cursor",
        "is_closed",
        "owner",
        "push",
        "sent_at",
    )

    def __init__(
        self, conversation: Conversation, *, owner: Owner, client: str, cursor: Cursor | None, now: float
    ) -> None:
        self.conversation = conversation
        self.owner = owner
        #: The address, as limits count it.
        self.client = client
        self.cursor = cursor
        self.is_closed = False
        self.sent_at = now
        #: Sends everything pending without waiting. Returns False if the connection cannot take it now.
        self.push: Callable[[], bool] = _not_yet
        self._serial = -1
        self._shown: State | None = None
        self._woken = asyncio.Event()
        self._woken.set()  # a new viewer has everything pending

    def wake(self) -> None:
        """Send what is pending at once if possible, since waking a task costs as much as sending the word."""
        if self.is_closed or not self.push():
            self._woken.set()

    def close(self) -> None:
        """End the connection."""
        self.is_closed = True
        self._woken.set()

    async def wait(self) -> None:
        """Wait for the next `wake`."""
        await self._woken.wait()
        self._woken.clear()

    def collect(self, now: float, *, keep_alive_seconds: float) -> bytes:
        """Return everything pending for this viewer in one piece; empty when there is nothing."""
        conversation = self.conversation
        if conversation.owner is not None and conversation.owner != self.owner:
            self.close()
            return b""
        parts: list[bytes] = []
        # Ends come first: a page that knows of a newer state ignores text from before it.
        self._collect_ends(parts)
        state = conversation.state
        if state is not None and state is not self._shown and state.is_news(self._shown):
            self._shown = state
            parts.append(frames.state(state.data(now)))
        if conversation.stream is not None:
            self._collect_from(conversation.stream, parts)
        if not parts and now - self.sent_at >= keep_alive_seconds:
            parts.append(frames.KEEP_ALIVE)
        if parts:
            self.sent_at = now
        return b"".join(parts)

    def _collect_ends(self, parts: list[bytes]) -> None:
        conversation = self.conversation
        if conversation.owner is None:
            return
        if self._serial < 0:
            self._serial = conversation.serial_for_newcomers
        for ended in conversation.ends_after(self._serial):
            if ended.stream is not None and self.cursor and self.cursor.request_id == ended.row.request_id:
                self._collect_from(ended.stream, parts)
            parts.append(frames.end(ended.row.request_id, ended.row.status, ended.row.code))
            self._serial = ended.serial

    def _collect_from(self, stream: LiveStream, parts: list[bytes]) -> None:
        found = stream.frame_after(self.cursor)
        if found is not None:
            self.cursor, frame = found
            parts.append(frame)
