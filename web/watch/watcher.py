"""The watcher: which conversations are looked at, by whom, and who is told when something has changed.

It lives in uvicorn's loop; only `nudge` may be called from other threads. It holds the reader (text) and the
sweep (rows) together: the reader wakes the viewers of a request that grew, a sweep finds new and ended
requests, and a nudge makes the next sweep come within 0.11 s (while Postgres is quick) instead of within a
second. With Redis away the sweep carries the text, with Postgres away the streams go on and the rows stay as
they were; both come back by themselves.
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
from web.watch.reader import Reader
from web.watch.viewer import Conversation, Stream, Viewer

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
#: A sweep that is asked for waits this long for more: a rush of news does not become a rush of statements, and a new
#: question's own way to its provider is not held up by who looks at it.
GATHER_SECONDS = 0.01
#: After a sweep, so many times as long as it took, nobody sweeps: the busier the machine, the more each one looks at.
PAUSE_TIMES = 6
#: But news wait no longer than this for a sweep, while Postgres is quick.
LONGEST_PAUSE_SECONDS = 0.1
#: A sweep that takes longer than this means that Postgres does not answer.
PATIENCE_SECONDS = 2.0
#: A stream that says nothing for this long is looked up in Postgres.
SILENCE_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 10.0
#: A sweep later than this, while Postgres answers, comes no more. In a starved loop one takes several seconds.
LATE_SWEEP_SECONDS = 10.0


class TooManyViewers(Exception):
    """One more live stream would be over a limit."""

    def __init__(self, limit: str) -> None:
        """`limit` is its name in shared/metrics.py."""
        super().__init__(limit)
        self.limit = limit


class Watcher:
    """Follows the conversations that browsers look at. One per web process."""

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
        # Threads of its own: a sweep must not wait for a page's slow query, nor for a file that is served.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="watch")
        self._reader = Reader(settings, on_change=self._text_changed, on_health=self._health_changed)
        self._postgres_away = False
        self._swept_at = time.monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self.is_closing = False

    def start(self) -> None:
        """Begin to read and to sweep."""
        self._tasks = [
            self._loop.create_task(self._reader.run()),
            self._loop.create_task(self._sweep_forever()),
        ]

    def close_viewers(self) -> None:
        """Let every connection end now: the server is about to stop."""
        self.is_closing = True
        for conversation in self._conversations.values():
            for viewer in list(conversation.viewers):
                viewer.close()

    async def close(self) -> None:
        """Stop all that `start` began."""
        self.close_viewers()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def nudge(self, conversation_id: UUID) -> None:
        """Something has happened in this conversation: look soon. From any thread.

        Soon is within LONGEST_PAUSE_SECONDS and GATHER_SECONDS, while Postgres is quick.
        """
        self._loop.call_soon_threadsafe(self._nudge, conversation_id)

    @property
    def watched(self) -> int:
        """How many conversations are looked at."""
        return len(self._conversations)

    @property
    def slow(self) -> bool:
        """Whether what is shown may lag: Redis or Postgres does not answer."""
        return self._reader.is_failing or self._postgres_away

    @property
    def follows(self) -> bool:
        """Whether reader and sweep run, for any thread. A server that is away does not stop them."""
        is_late = time.monotonic() - self._swept_at > LATE_SWEEP_SECONDS and not self._postgres_away
        return not is_late and not any(task.done() for task in self._tasks)

    async def may_look(self, conversation_id: UUID, owner: Owner) -> bool:
        """Whether this owner may look at this conversation; nobody's is everybody's until its first question.

        With Postgres away nobody knows: the viewer is let in and shown nothing until it is known.
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
        """Raise TooManyViewers if one more stream would be over a limit."""
        if limit := self._open.reached(owner, client):
            raise TooManyViewers(limit)

    def enter(self, conversation_id: UUID, *, owner: Owner, client: str, cursor: Cursor | None) -> Viewer:
        """Return a new viewer; `client` is its address as limits count it. Raises TooManyViewers."""
        self.check(owner, client)
        conversation = self._conversations.setdefault(conversation_id, Conversation(conversation_id))
        viewer = Viewer(conversation, owner=owner, client=client, cursor=cursor, now=self._loop.time())
        conversation.viewers.add(viewer)
        self._open.enter(owner, client)
        if conversation.state is None:
            self._nudge(conversation_id)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """A viewer is gone; with the last one the conversation is looked at no more."""
        viewer.close()
        conversation = viewer.conversation
        conversation.viewers.discard(viewer)
        self._open.leave(viewer.owner, viewer.client)
        if conversation.viewers:
            return
        self._conversations.pop(conversation.id, None)
        if conversation.stream is not None:
            self._reader.drop(conversation.stream)

    def _nudge(self, conversation_id: UUID) -> None:
        if conversation_id in self._conversations:
            self._nudged.add(conversation_id)
            self._is_nudged.set()

    def _text_changed(self, changed: list[Stream], ended: list[Stream]) -> None:
        slow = self.slow
        for stream in changed:
            conversation = stream.conversation
            state = conversation.state
            if state is None or state.attempt != stream.text.attempt or state.phase != "streaming":
                conversation.refresh(slow=slow)
            conversation.wake()
        for stream in ended:
            # The row says how it ended, and why.
            self._nudge(stream.conversation.id)

    def _health_changed(self, _: bool) -> None:
        self._refresh_all()
        self._is_nudged.set()

    def _refresh_all(self) -> None:
        slow = self.slow
        for conversation in self._conversations.values():
            if conversation.refresh(slow=slow):
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
                await self._sweep_once(list(self._conversations) if is_full else list(self._nudged))
            except Exception:
                log.exception("a sweep failed")
            took = self._loop.time() - began
            await asyncio.sleep(min(max(took, min(PAUSE_TIMES * took, LONGEST_PAUSE_SECONDS)), SWEEP_SECONDS))
            await _wait_until(self._is_nudged, next_full - self._loop.time())
            await asyncio.sleep(GATHER_SECONDS)

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
                is_silent=self._reader.is_failing or now - each.heard_at >= SILENCE_SECONDS,
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
        """Run a statement in a thread; None when Postgres does not answer. One at a time."""
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
        changed, self._postgres_away = away != self._postgres_away, away
        if changed:
            log.log(
                logging.WARNING if away else logging.INFO,
                "Postgres %s",
                "is away" if away else "answers again",
            )
        if changed or away:
            # Also while nothing changes: a page that was opened meanwhile has to be told too.
            self._refresh_all()

    def _take_in(self, looked: list[Conversation], rows: list[Row]) -> None:
        now = self._loop.time()
        found: dict[UUID, list[Row]] = {}
        for row in rows:
            found.setdefault(row.conversation_id, []).append(row)
        slow = self.slow
        for conversation in looked:
            for row in found.get(conversation.id, ()):
                self._take_row(conversation, row)
            conversation.read_at = now
            conversation.refresh(slow=slow)
            conversation.wake()

    def _take_row(self, conversation: Conversation, row: Row) -> None:
        conversation.owner = row.owner
        conversation.row = row
        stream = conversation.stream
        if stream is not None and stream.request_id == row.request_id:
            row.complete(stream.text)
            if row.is_ended:
                self._reader.drop(stream)
                conversation.stream = None
                conversation.note_end(row, stream)
        elif row.is_ended:
            conversation.note_end(row, None)
        else:
            self._follow(conversation, row)

    def _follow(self, conversation: Conversation, row: Row) -> None:
        # Left during the sweep, and perhaps entered anew: then another object stands for it.
        if self._conversations.get(conversation.id) is not conversation:
            return
        if conversation.stream is not None:
            self._reader.drop(conversation.stream)
        conversation.stream = Stream(row.request_id, conversation, now=self._loop.time())
        self._reader.follow(conversation.stream)

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
