"""People who keep asking while a server is replaced by another, and what became of their questions."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID, uuid4

from shared import lifecycle
from shared.errors import Unavailable
from shared.lifecycle import Question
from shared.people import Owner
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.patience import patient

WORDS = "[[sim: tokens=60 pace=25 first=0.1]]"
EVERY_SECONDS = 0.1
AGAIN_SECONDS = 0.1


@dataclass
class Asking:
    """Asks ten questions a second, each in a conversation of its own, until the block ends.

    A person whose question is refused sends it again with the same key.
    """

    person: Person
    #: How long each question took to be accepted, refusals included.
    accepted: dict[UUID, float] = field(default_factory=dict)
    refusals: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._threads.append(threading.Thread(target=self._run))
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(EVERY_SECONDS):
            thread = threading.Thread(target=self._ask)
            self._threads.append(thread)
            thread.start()

    def _ask(self) -> None:
        began, limit = time.monotonic(), time.monotonic() + patient(60)
        owner, key = Owner("browser", uuid4().hex), uuid4().hex
        question = Question(owner=owner, conversation_id=uuid4(), text=WORDS, idempotency_key=key)
        while time.monotonic() < limit:
            try:
                stored = lifecycle.submit(self.person.engine, question, deadline_seconds=600, max_characters=1000)
            except Unavailable:
                self.refusals += 1
                time.sleep(AGAIN_SECONDS)
            else:
                self.person.dispatcher.send(stored.lane)
                self.accepted[stored.request_id] = time.monotonic() - began
                return

    @property
    def slowest(self) -> str:
        """The times until acceptance as a line for the test's output."""
        times = sorted(self.accepted.values())
        p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
        return (
            f"{len(times)} accepted after {self.refusals} refusals: median {times[len(times) // 2]:.3f} s, "
            f"p99 {p99:.2f} s, most {times[-1]:.2f} s"
        )

    def check(self) -> None:
        """Check that each accepted question is answered once, completely and by one call.

        The reply to a claim may be lost in the switch. The request then gets a second attempt, before any call.
        """
        assert self.accepted
        for request_id in self.accepted:
            row = self.person.wait_end(request_id, seconds=60)
            assert (row.status, row.losses) == (Status.SUCCEEDED, 0), f"attempt {row.attempt}: {row.error_code}"
            assert self.person.answers(request_id) == [full_text(WORDS)]
            assert len(self.person.calls(request_id)) == 1
