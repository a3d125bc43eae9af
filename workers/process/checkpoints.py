"""Checkpoints: the texts of running answers, written to Postgres now and then, for the time when this process is gone.

Written a slice at a time: hundreds of long answers in one statement are megabytes, and for as long as this process puts
them together and Postgres takes them apart, every live answer of the machine stands still (measured: 0.2 s).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from shared import fleet

if TYPE_CHECKING:
    from workers.worker import Process

SLICE_CHARACTERS = 128 * 1024
SLICE_PAUSE_SECONDS = 0.05


class Checkpoints:
    """What was written of each attempt, and what is still to be written in this turn. Used by the lease thread."""

    def __init__(self, process: Process) -> None:
        self._process = process
        #: When `write` is due, on the monotonic clock.
        self.due_at = 0.0
        self._began_at = 0.0
        self._waiting: list[tuple[UUID, int]] = []
        self._written: dict[tuple[UUID, int], int] = {}

    def hurry(self) -> None:
        """Redis takes no text: what people see is what is written here, so the next turn comes sooner."""
        self.due_at = min(self.due_at, self._began_at + self._process.settings.degraded_checkpoint_seconds)

    def write(self, connection: Connection, worker_id: UUID) -> None:
        """Write the next slice of the texts that grew; due again when the next slice or the next turn is."""
        settings, now = self._process.settings, time.monotonic()
        running = {
            (each.claimed.request_id, each.claimed.attempt): each.live
            for each in self._process.running.answers()
            if each.live is not None and each.claimed.worker_id == worker_id
        }
        if not self._waiting:
            self._began_at, self._waiting = now, list(running)
            self._written = {key: length for key, length in self._written.items() if key in running}
        texts: dict[tuple[UUID, int], str] = {}
        characters = 0
        while self._waiting and characters < SLICE_CHARACTERS:
            key = self._waiting.pop()
            live = running.get(key)
            if live is not None and live.length != self._written.get(key, 0):
                texts[key] = live.text()
                characters += len(texts[key])
        fleet.checkpoint(connection, worker_id, texts)
        self._written |= {key: len(text) for key, text in texts.items()}
        healthy = self._process.publisher.healthy
        pause = settings.checkpoint_seconds if healthy else settings.degraded_checkpoint_seconds
        self.due_at = now + SLICE_PAUSE_SECONDS if self._waiting else self._began_at + pause
