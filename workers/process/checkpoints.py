"""Checkpoints: the texts of running answers in Postgres, in case this process dies.

Each write stores the whole text, so a long text is written less often. It is due again once it has grown by a quarter,
or LONGEST_PAUSE rounds after its last write. So an answer's writes come to at most five times its text, and one more
text for each LONGEST_PAUSE rounds; a crash loses at most the text of LONGEST_PAUSE + 1 rounds. While Redis fails the
page shows checkpoints only, and every round writes every text.

They are written in slices. Hundreds of long answers in one statement are megabytes: every live answer on the machine
would pause while this process builds the statement and Postgres parses it (measured: 0.2 s).
"""

from __future__ import annotations

import time
from uuid import UUID

from sqlalchemy import Connection

from shared import fleet
from workers.process.context import Context

SLICE_CHARACTERS = 128 * 1024
SLICE_PAUSE_SECONDS = 0.05
GROWTH = 0.25
#: In rounds of `checkpoint_seconds`.
LONGEST_PAUSE = 5


class Checkpoints:
    """Writes the texts that have grown since their last checkpoint. Used by the lease thread only."""

    def __init__(self, context: Context) -> None:
        self._context = context
        #: When `write` is due, on the monotonic clock.
        self.due_at = 0.0
        self._began_at = 0.0
        self._waiting: list[tuple[UUID, int]] = []
        #: The length of each text when it was last written, and the time of that round.
        self._written: dict[tuple[UUID, int], tuple[int, float]] = {}

    def hurry(self) -> None:
        """Bring the next round forward: while Redis fails, the page shows checkpoints only."""
        self.due_at = min(self.due_at, self._began_at + self._context.settings.degraded_checkpoint_seconds)

    def write(self, connection: Connection, worker_id: UUID) -> None:
        """Write the next slice of the texts that have grown, and set `due_at` for the next slice or round."""
        settings, now = self._context.settings, time.monotonic()
        running = {
            (each.claimed.request_id, each.claimed.attempt): each.live
            for each in self._context.running.answers()
            if each.live is not None and each.claimed.worker_id == worker_id
        }
        if not self._waiting:
            self._began_at, self._waiting = now, list(running)
            self._written = {key: written for key, written in self._written.items() if key in running}
        texts: dict[tuple[UUID, int], str] = {}
        characters = 0
        while self._waiting and characters < SLICE_CHARACTERS:
            key = self._waiting.pop()
            live = running.get(key)
            if live is not None and self._is_due(key, live.length):
                texts[key] = live.text()
                characters += len(texts[key])
        fleet.checkpoint(connection, worker_id, texts)
        self._written |= {key: (len(text), self._began_at) for key, text in texts.items()}
        healthy = self._context.publisher.healthy
        pause = settings.checkpoint_seconds if healthy else settings.degraded_checkpoint_seconds
        self.due_at = now + SLICE_PAUSE_SECONDS if self._waiting else self._began_at + pause

    def _is_due(self, key: tuple[UUID, int], length: int) -> bool:
        written, at = self._written.get(key, (0, 0.0))
        if length == written:
            return False
        if length - written >= GROWTH * written or not self._context.publisher.healthy:
            return True
        return self._began_at - at >= LONGEST_PAUSE * self._context.settings.checkpoint_seconds
