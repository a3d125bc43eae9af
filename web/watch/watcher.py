"""Track which conversations are watched, and tell their viewers about changes.

The watcher runs in uvicorn's loop; other threads may call `nudge` only. It combines two sources. The reader wakes the
viewers of a request whose text grew. The sweep reads rows, and finds new and ended requests: once a second where an
answer is under way, every 15 s in an idle conversation. A nudge brings the next sweep forward to within 0.11 s while
Postgres is quick; a new question anywhere nudges its idle viewers. Without Redis the sweep carries the text; without
Postgres the streams go on and the rows stay as they were. Both recover by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from sqlalchemy import Engine

from shared.errors import Unavailable
from shared.following.sweep import Known, Row, owner_of_conversation, sweep
from shared.people import Owner
from shared.settings import Settings
from web.limits import OpenStreams
from web.watch.frames import Cursor
from web.watch.readers import Readers
from web.watch.viewer import Conversation, LiveStream, Viewer

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
#: A conversation without a running answer is swept this often. A notice or a new viewer does not wait for it.
IDLE_SWEEP_SECONDS = 15.0
#: Idle conversations in one sweep; more only if some would not get their turn otherwise.
IDLE_AT_ONCE = 100
#: A nudged sweep waits this long for more nudges, so that a rush of changes takes few statements and does not delay
#: the new question itself.
GATHER_SECONDS = 0.01
#: After a sweep, wait PAUSE_TIMES × its duration, so that a busy machine sweeps more conversations at a time.
PAUSE_TIMES = 6
#: The longest such pause, while Postgres is quick.
LONGEST_PAUSE_SECONDS = 0.1
#: A sweep that takes longer counts as "Postgres does not answer".
PATIENCE_SECONDS = 2.0
#: Look up a stream in Postgres after this much silence.
SILENCE_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 10.0
#: If Postgres answers and no sweep began for this long, sweeping has stopped. A starved loop delays one by seconds.
LATE_SWEEP_SECONDS = 10.0


class TooManyViewers(Exception):
    """Another live stream would exceed a limit."""

    def __init__(self, limit: str) -> None:
        """`limit` is its name in shared/metrics.py."""
        super().__init__(limit)
        self.limit = limit


class Watcher:
    """Follows the watched conversations of one web process."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._engine = engine
        self._conversations: dict[UUID, Conversation] = {}
        self._open = OpenStreams(
            per_owner=settings.streams_per_owner,
            per_address=settings.streams_per_address,
            in_all=settings.streams,
        )
        self._nudged: set[UUID] = set()
        self._is_nudged = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # A separate pool: a sweep must not queue behind slow queries of pages or served files.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="watch")
        self._readers = Readers(settings, on_change=self._text_changed, on_health=self._health_changed)
        self.is_postgres_away = False
        self._swept_at = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self.is_closing = False

    def start(self) -> None:
        """Start reading and sweeping."""
        self._tasks = [
            self._loop.create_task(self._readers.run()),
            self._loop.create_task(self._sweep_forever()),
        ]

    def close_viewers(self) -> None:
        """End every connection, because the server is about to stop."""
        self.is_closing = True
        for conversation in self._conversations.values():
            for viewer in list(conversation.viewers):
                viewer.close()

    async def close(self) -> None:
        """Stop reading and sweeping, and end every connection."""
        self.close_viewers()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def nudge(self, conversation_id: UUID) -> None:
        """Sweep this conversation soon. May be called from any thread.

        While Postgres is quick, that is within LONGEST_PAUSE_SECONDS + GATHER_SECONDS.
        """
        self._loop.call_soon_threadsafe(self._nudge, conversation_id)

    def nudge_all(self) -> None:
        """Sweep every conversation soon, because notices may have been missed. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._nudge_all)

    @property
    def watched(self) -> int:
        """The number of watched conversations."""
        return len(self._conversations)

    def _is_slow(self, conversation: Conversation) -> bool:
        """Whether its pages may lag, because Postgres or the shard of its stream does not answer."""
        return self.is_postgres_away or self._readers.is_failing(conversation.stream)

    @property
    def follows(self) -> bool:
        """Whether the reader and the sweep still run, even while Redis or Postgres is away. For any thread."""
        is_late = time.monotonic() - self._swept_at > LATE_SWEEP_SECONDS and not self.is_postgres_away
        return not is_late and not any(task.done() for task in self._tasks)

    async def may_look(self, conversation_id: UUID, owner: Owner) -> bool:
        """Return whether this owner may watch the conversation, as anyone may before its first question.

        Without Postgres the answer is True: `Viewer.collect` sends nothing until the owner is known.
        """
        known = self._conversations.get(conversation_id)
        if known is not None and known.owner is not None:
            return known.owner == owner
        asked = self._loop.run_in_executor(self._threads, owner_of_conversation, self._engine, conversation_id)
        try:
            found = await asyncio.wait_for(asked, PATIENCE_SECONDS)
        except (Unavailable, TimeoutError):
            return True
        return found in (None, owner)

    def check(self, owner: Owner, client: str) -> None:
        """Raise TooManyViewers if one more stream would exceed a limit."""
        if limit := self._open.reached(owner, client):
            raise TooManyViewers(limit)

    def enter(self, conversation_id: UUID, *, owner: Owner, client: str, cursor: Cursor | None) -> Viewer:
        """Add a viewer; `client` is its address as limits count it. Raises TooManyViewers."""
        self.check(owner, client)
        conversation = self._conversations.setdefault(conversation_id, Conversation(conversation_id))
        viewer = Viewer(conversation, owner=owner, client=client, cursor=cursor, now=self._loop.time())
        conversation.viewers.add(viewer)
        self._open.enter(owner, client)
        if conversation.stream is None:
            self._nudge(conversation_id)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer, and stop watching a conversation without viewers."""
        viewer.close()
        conversation = viewer.conversation
        conversation.viewers.discard(viewer)
        self._open.leave(viewer.owner, viewer.client)
        if conversation.viewers:
            return
        self._conversations.pop(conversation.id, None)
        if conversation.stream is not None:
            self._readers.drop(conversation.stream)

    def _nudge(self, conversation_id: UUID) -> None:
        if conversation_id in self._conversations:
            self._nudged.add(conversation_id)
            self._is_nudged.set()

    def _nudge_all(self) -> None:
        self._nudged.update(self._conversations)
        self._is_nudged.set()

    def _text_changed(self, changed: list[LiveStream], ended: list[LiveStream]) -> None:
        for stream in changed:
            conversation = stream.conversation
            state = conversation.state
            is_writing = state is not None and state.phase == "streaming" and not stream.text.is_thinking
            if state is None or state.attempt != stream.text.attempt or not is_writing:
                conversation.refresh(slow=self._is_slow(conversation))
            conversation.wake()
        for stream in ended:
            # The row holds the status and the reason.
            self._nudge(stream.conversation.id)

    def _health_changed(self, _: bool) -> None:
        self._refresh_all()
        self._is_nudged.set()

    def _refresh_all(self) -> None:
        for conversation in self._conversations.values():
            if conversation.refresh(slow=self._is_slow(conversation)):
                conversation.wake()

    async def _sweep_forever(self) -> None:
        next_full = 0.0
        while True:
            began, self._swept_at = self._loop.time(), time.monotonic()
            is_full = began >= next_full
            if is_full:
                next_full = began + SWEEP_SECONDS
                self._keep_alive(began)
            try:
                await self._sweep_once(self._due(began) if is_full else list(self._nudged))
            except Exception:
                log.exception("a sweep failed")
            took = self._loop.time() - began
            await asyncio.sleep(min(max(took, min(PAUSE_TIMES * took, LONGEST_PAUSE_SECONDS)), SWEEP_SECONDS))
            await _wait_until(self._is_nudged, next_full - self._loop.time())
            await asyncio.sleep(GATHER_SECONDS)

    def _due(self, now: float) -> list[UUID]:
        """Return the conversations to sweep: the nudged ones, those with a stream, and the idle ones by turns."""
        due = set(self._nudged)
        idle: list[Conversation] = []
        for conversation in self._conversations.values():
            if conversation.stream is not None:
                due.add(conversation.id)
            elif now - conversation.read_at >= IDLE_SWEEP_SECONDS:
                idle.append(conversation)
        most = max(IDLE_AT_ONCE, int(len(self._conversations) * 2 * SWEEP_SECONDS / IDLE_SWEEP_SECONDS))
        idle.sort(key=lambda each: each.read_at)
        return [*due, *(each.id for each in idle[:most] if each.id not in due)]

    async def _sweep_once(self, asked: list[UUID]) -> None:
        self._is_nudged.clear()
        self._nudged.difference_update(asked)
        if not asked:
            return
        now = self._loop.time()
        looked = [found for each in asked if (found := self._conversations.get(each))]
        known = [
            Known.of(
                each.request_id,
                each.text,
                is_silent=self._readers.is_failing(each) or now - each.heard_at >= SILENCE_SECONDS,
            )
            for each in (conversation.stream for conversation in looked)
            if each is not None
        ]
        rows = await self._ask(lambda: sweep(self._engine, asked, known=known))
        if rows is None:
            self._nudged.update(asked)
            return
        self._take_in(looked, rows)

    async def _ask(self, question: Callable[[], list[Row]]) -> list[Row] | None:
        """Run one statement in a thread. Return None if Postgres does not answer."""
        answer = self._loop.run_in_executor(self._threads, question)
        done, _ = await asyncio.wait({answer}, timeout=PATIENCE_SECONDS)
        if not done:
            self._postgres_is(away=True)
        try:
            rows = await answer
        except Unavailable:
            self._postgres_is(away=True)
            return None
        self._postgres_is(away=False)
        return rows

    def _postgres_is(self, *, away: bool) -> None:
        changed, self.is_postgres_away = away != self.is_postgres_away, away
        if changed:
            log.log(
                logging.WARNING if away else logging.INFO,
                "Postgres %s",
                "is away" if away else "answers again",
            )
        if changed or away:
            # Also without a change, for pages that were opened meanwhile.
            self._refresh_all()

    def _take_in(self, looked: list[Conversation], rows: list[Row]) -> None:
        now = self._loop.time()
        found: dict[UUID, list[Row]] = {}
        for row in rows:
            found.setdefault(row.conversation_id, []).append(row)
        for conversation in looked:
            for row in found.get(conversation.id, ()):
                self._take_row(conversation, row)
            conversation.read_at = now
            conversation.refresh(slow=self._is_slow(conversation))
            conversation.wake()

    def _take_row(self, conversation: Conversation, row: Row) -> None:
        conversation.owner = row.owner
        conversation.row = row
        stream = conversation.stream
        if stream is not None and stream.request_id == row.request_id:
            is_behind = row.complete(stream.text)
            if is_behind and not row.is_ended:
                self._readers.look_elsewhere(stream)
            if row.is_ended:
                self._readers.drop(stream)
                conversation.stream = None
                conversation.note_end(row, stream)
        elif row.is_ended:
            conversation.note_end(row, None)
        else:
            self._follow(conversation, row)

    def _follow(self, conversation: Conversation, row: Row) -> None:
        # The last viewer left during the sweep; a new one would have its own Conversation object.
        if self._conversations.get(conversation.id) is not conversation:
            return
        if conversation.stream is not None:
            self._readers.drop(conversation.stream)
        conversation.stream = LiveStream(row.request_id, conversation, now=self._loop.time())
        self._readers.follow(conversation.stream)

    def _keep_alive(self, now: float) -> None:
        for conversation in self._conversations.values():
            for viewer in conversation.viewers:
                if now - viewer.sent_at >= KEEP_ALIVE_SECONDS:
                    viewer.wake()


async def _wait_until(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except TimeoutError:
        return
