"""One conversation as its viewers share it, and one viewer: what it has been sent and what it lacks.

A viewer holds no queue: only how far it has got. What it lacks is cut from the shared text when it can be
sent, so a slow browser costs no memory, and neither a gap nor a doubled character can be sent. Who calls
`wake` is `watcher.py`; who sends the bytes is `web/api/events.py`.
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

#: Ends that a viewer can still be told of; more than these never lie between two of its frames.
KEPT_ENDS = 4


class Stream:
    """A watched request: its text, how far its Redis stream was read, and the conversation that shows it."""

    __slots__ = (
        "_frame",
        "_key",
        "_name",
        "_next",
        "conversation",
        "heard_at",
        "last_id",
        "request_id",
        "text",
    )

    def __init__(self, request_id: UUID, conversation: Conversation, *, now: float) -> None:
        self.request_id = request_id
        self.conversation = conversation
        self.text = LiveText()
        # From the beginning, never `$`: what was written before somebody looked belongs to the answer too.
        self.last_id = "0-0"
        self.heard_at = now
        self._name = str(request_id)
        # The last frame that was made, for (attempt, offset, length), and where a viewer is after it.
        self._key = (0, 0, 0)
        self._frame = b""
        self._next = Cursor(request_id, 0, 0)

    def frame_after(self, cursor: Cursor | None) -> tuple[Cursor, bytes] | None:
        """What a viewer at `cursor` lacks, and where it is then; None when it lacks nothing.

        A viewer of another attempt gets a snapshot. One that is ahead (another process told it more) waits.
        """
        text = self.text
        if not text.length:
            return None
        offset = -1 if cursor is None or not self._is_here(cursor) else cursor.offset
        if offset >= text.length:
            return None
        # All viewers of a request are at the same place nearly always: encode once for all of them.
        key = (text.attempt, offset, text.length)
        if key != self._key:
            self._key = key
            self._frame = self._encode(offset)
            self._next = Cursor(self.request_id, text.attempt, text.length)
        return self._next, self._frame

    def _is_here(self, cursor: Cursor) -> bool:
        same = cursor.request_id is self.request_id or cursor.request_id == self.request_id
        return same and cursor.attempt == self.text.attempt

    def _encode(self, offset: int) -> bytes:
        if offset < 0:
            return frames.snapshot(self._name, self.text.attempt, self.text.since(0))
        return frames.delta(self._name, self.text.attempt, offset, self.text.since(offset))


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that came to its end while it was watched."""

    serial: int
    row: Row
    stream: Stream | None


class Conversation:
    """What all viewers of one conversation share."""

    __slots__ = ("_ends", "_serial", "id", "owner", "read_at", "row", "state", "stream", "viewers")

    def __init__(self, conversation_id: UUID) -> None:
        self.id = conversation_id
        #: None until Postgres has said whose it is; nothing is shown to anyone before.
        self.owner: Owner | None = None
        self.viewers: set[Viewer] = set()
        self.row: Row | None = None
        self.read_at = 0.0
        self.stream: Stream | None = None
        #: None until Postgres was asked for the first time: a page is not told "idle" before it is known.
        self.state: State | None = None
        self._ends: deque[Ended] = deque(maxlen=KEPT_ENDS)
        self._serial = 0

    def note_end(self, row: Row, stream: Stream | None) -> None:
        """The request of `row` is over; each viewer is told once, after the text that it still lacks."""
        if any(each.row.request_id == row.request_id for each in self._ends):
            return
        self._serial += 1
        self._ends.append(Ended(self._serial, row, stream))

    def ends_after(self, serial: int) -> list[Ended]:
        """The ends that a viewer who knows of `serial` has not been told."""
        return [each for each in self._ends if each.serial > serial] if serial < self._serial else []

    @property
    def serial_for_newcomers(self) -> int:
        """Where a new viewer begins: the last end is told again, its page may be older than that."""
        return max(0, self._serial - 1)

    def refresh(self, *, slow: bool) -> bool:
        """Make the state anew; whether viewers have to be told."""
        live = self.stream.text if self.stream else None
        made = state_of(self.row, live, read_at=self.read_at, slow=slow)
        if not made.is_news(self.state):
            return False
        self.state = made
        return True

    def wake(self) -> None:
        """Let every viewer look at what it lacks."""
        for viewer in self.viewers:
            viewer.wake()


def _not_yet() -> bool:
    return False


class Viewer:
    """One open connection of one browser to one conversation."""

    __slots__ = (
        "_is_stale",
        "_serial",
        "_shown",
        "_waiter",
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
        #: Its address, as limits count it.
        self.client = client
        self.cursor = cursor
        self.is_closed = False
        self.sent_at = now
        #: Sends what this viewer lacks here and now; False when its connection cannot take it, or is not ready yet.
        self.push: Callable[[], bool] = _not_yet
        self._serial = -1
        self._shown: State | None = None
        self._waiter: asyncio.Future[None] | None = None
        # Woken since the last look; at first there is everything to see.
        self._is_stale = True

    def wake(self) -> None:
        """Something may have changed for this viewer. To wake its task for each word would cost as much as the word."""
        if self.is_closed or not self.push():
            self._wake_task()

    def _wake_task(self) -> None:
        self._is_stale = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """The connection is over, whoever ended it."""
        self.is_closed = True
        self._wake_task()

    async def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until there was a `wake`. A plain future: an Event with a timeout costs a task for every word.

        The caller knows its loop; to ask for it costs a system call for every word (before Python 3.12).
        """
        if not self._is_stale:
            self._waiter = loop.create_future()
            await self._waiter
        self._is_stale = False

    def collect(self, now: float, *, keep_alive_seconds: float) -> bytes:
        """All that this viewer lacks, as one piece; empty when it lacks nothing."""
        conversation = self.conversation
        if conversation.owner is not None and conversation.owner != self.owner:
            self.close()
            return b""
        parts: list[bytes] = []
        # Ends first: a page that was told of what comes next, or of nothing, takes no more of what was before.
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

    def _collect_from(self, stream: Stream, parts: list[bytes]) -> None:
        found = stream.frame_after(self.cursor)
        if found is not None:
            self.cursor, made = found
            parts.append(made)
