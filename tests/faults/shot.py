"""A shot: one injection of a fault, from the first question to the verdict."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.faults.checker import Verdict, check
from tests.faults.crowd import Asked, Page
from tests.faults.evidence import Evidence, Row, rows_of
from tests.faults.history import Entry
from tests.faults.rig import Rig

#: The limit for all pages to learn of the ends; normally one sweep is enough.
TOLD_SECONDS = 10.0
_ACTIVE = "SELECT count(*) AS n FROM chat_request WHERE status IN ('queued', 'running')"


@dataclass
class Shot:
    """One injection: the rig, the people, the strike and the recovery."""

    rig: Rig
    rng: random.Random
    index: int
    #: The moment of the strike, by the machine's clock.
    struck: float = 0.0
    recovery: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Asked] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def words(self, *, tokens: int = 60, pace: float = 30, first: float = 0.1, more: str = "") -> str:
        """Make a question, different each time, whose answer takes `tokens / pace` seconds."""
        unique = self.rng.getrandbits(64)
        return f"[[sim: emit=call tokens={tokens} pace={pace:g} first={first:g} {more}]] question {unique:x}?"

    def ask(self, number: int = 6, words: str | None = None, **how: Any) -> list[Asked]:
        """Let `number` people ask at once, each on their own page; return the accepted questions."""
        found = self.rig.do(self._ask(number, words, how), seconds=180)
        self.asked += found
        return found

    async def _ask(self, number: int, words: str | None, how: dict[str, Any]) -> list[Asked]:
        pages = [await self.rig.crowd.page() for _ in range(number)]
        asked = await asyncio.gather(*(page.ask(words or self.words(), **how) for page in pages))
        return [each for each in asked if each is not None]

    def ask_on(self, page: Page, words: str, **how: Any) -> Asked | None:
        """Ask one more question in an open conversation."""
        found = self.rig.do(page.ask(words, **how), seconds=180)
        if found is not None:
            self.asked.append(found)
        return found

    def see_text(self, asked: Iterable[Asked], *, tokens: int = 1, seconds: float = 60) -> None:
        """Wait until the page of each question shows this many words."""

        async def all_of_them() -> None:
            await asyncio.gather(*(each.page.see_text(each.request, tokens=tokens, seconds=seconds) for each in asked))

        self.rig.do(all_of_them(), seconds=seconds + 5)

    def see_ends(self, asked: Iterable[Asked], *, seconds: float = 60) -> list[str]:
        """Wait until each page knows that its request has ended; return the statuses."""

        async def all_of_them() -> list[str]:
            return await asyncio.gather(*(each.page.see_end(each.request, seconds=seconds) for each in asked))

        return self.rig.do(all_of_them(), seconds=seconds + 5)

    def strike(self) -> float:
        """Record the moment of the strike."""
        self.struck = time.time()
        return self.struck

    def take_entries(self) -> list[Entry]:
        """Return the history of this shot so far."""
        self.entries += self.rig.history.take()
        return self.entries

    def since(self, condition: Callable[[Entry], bool]) -> dict[str, float]:
        """Return, by request, the seconds from the strike to the first entry that meets the condition."""
        found: dict[str, float] = {}
        for entry in self.take_entries():
            if entry.at >= self.struck and entry.request and entry.request not in found and condition(entry):
                found[entry.request] = entry.at - self.struck
        return found

    def recovered_by_attempts(self, asked: Sequence[Asked]) -> None:
        """Measure recovery until each page shows the new attempt. Requests without a new attempt do not count."""
        wanted = {each.request for each in asked}
        first = self.since(
            lambda entry: entry.what in {"state", "text"} and entry.attempt > 1 and entry.request in wanted
        )
        self.recovery += first.values()

    def recovered_by_text(self, asked: Sequence[Asked]) -> None:
        """Measure recovery until each page shows its first new words after the strike, or the end."""
        wanted = {each.request for each in asked}
        first = self.since(
            lambda entry: (
                entry.request in wanted and (entry.what == "ended" or (entry.what == "text" and entry.text != ""))
            )
        )
        self.recovery += first.values()

    def note_accepts(self, name: str = "accept") -> None:
        """Record how long each question took to be accepted, from the strike on."""
        self.figures[name] += [
            entry.seconds for entry in self.take_entries() if entry.what == "accepted" and entry.at >= self.struck
        ]

    def rows(self, asked: Iterable[Asked] | None = None) -> list[Row]:
        """Read the rows of these requests, by default of all requests of the shot."""
        self.take_entries()
        keys = {entry.key for entry in self.entries if entry.what == "submit"}
        wanted = {each.request for each in asked} if asked is not None else None
        _, rows, _ = rows_of(self.rig.servers.postgres_server.url, requests=wanted or (), keys=keys)
        return [row for row in rows if wanted is None or row.request in wanted]

    def statuses(self, asked: Iterable[Asked]) -> list[str]:
        """Return the statuses of the rows."""
        return [row.status for row in self.rows(asked)]

    def losses(self) -> int:
        """Return how many attempts were taken back from a lost worker."""
        return sum(attempt.outcome == "lost" for row in self.rows() for attempt in row.attempts)

    def restarts(self, asked: Iterable[Asked]) -> int:
        """Return how many attempts beyond the first these requests took."""
        return sum(max(0, row.attempt - 1) for row in self.rows(asked))

    def expect_no_harm(self, asked: Iterable[Asked], *, began: float, kind: str) -> None:
        """Assert that an outage marked no living worker lost and began no answer again."""
        marked = "SELECT count(*) AS n FROM worker WHERE lost_at >= to_timestamp(:began)"
        (found,) = self.rig.ask_rows(marked, began=began)
        restarts = self.restarts(asked)
        self.figures[f"workers lost ({kind})"].append(float(found.n))
        self.figures[f"answers begun again ({kind})"].append(float(restarts))
        assert (found.n, restarts) == (0, 0), f"{found.n} workers lost, {restarts} answers begun again"

    def gaps_between_attempts(self) -> None:
        """Measure recovery from an attempt's end to the next one's start."""
        for row in self.rows():
            for before, after in pairwise(row.attempts):
                self.recovery.append(after.began - (before.ended or before.began))

    def picked_up(self) -> None:
        """Measure recovery from the last stored request to the start of its first attempt."""

        def begun() -> Row | None:
            last = max(self.rows(), key=lambda row: row.created)
            return last if last.attempts else None

        row = self.rig.wait(begun, seconds=60, what="the stored question is picked up")
        assert row is not None
        self.recovery.append(row.attempts[0].began - row.created)

    def settle(self, *, patience: float) -> None:
        """Wait until every request has ended and every page shows it; then close the pages."""
        ended = self._poll(lambda: not self.rig.ask_rows(_ACTIVE)[0].n, seconds=patience)
        if ended:
            self._poll(self._told, seconds=TOLD_SECONDS)
        self.rig.do(self.rig.crowd.leave())
        # The simulator logs closed connections a moment later.
        self.rig.sleep(0.3)

    def _told(self) -> bool:
        return all(each.request in each.page.ends for each in self.asked)

    def _poll(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        limit = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > limit:
                return False
            self.rig.sleep(0.05)
        return True

    def judge(self, *, provider_struck: bool = False) -> Verdict:
        """Collect the evidence on this shot's requests, and return the verdict."""
        entries = self.take_entries()
        requests = {entry.request for entry in entries if entry.what == "accepted"}
        keys = {entry.key for entry in entries if entry.what == "submit"}
        at, rows, anomalies = rows_of(self.rig.servers.postgres_server.url, requests=requests, keys=keys)
        calls = self.rig.calls.of(row.request for row in rows)
        return check(
            entries, Evidence(at=at, rows=rows, calls=calls, anomalies=anomalies), provider_struck=provider_struck
        )
