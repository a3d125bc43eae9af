"""The allowances of owners, for the question that is about to be stored and for the line above the composer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from sqlalchemy import Engine

from shared.lifecycle import OwnerLimits
from shared.people import Owner
from shared.postgres.database import transaction
from shared.settings import Settings
from shared.spending.limits import Allowance, Part, Watch, allowances_of, may_ask

#: A page that is drawn again within this time shows the same figures.
KEPT_SECONDS = 5.0
MOST_KEPT = 10_000
#: The used share of a limit from which the page says what is left.
LITTLE_LEFT = 0.8


class Allowances:
    """The allowances of one web process. Where no limit is set, nothing is read. Thread-safe."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._watch = Watch(engine, settings)
        self._everyones = OwnerLimits.of(settings)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, list[Allowance]]] = OrderedDict()

    def of_question(self, owner: Owner) -> tuple[OwnerLimits, int]:
        """Return the limits on the owner's questions, and their longest one in characters.

        Raises SpendingReached if nothing is left, and Unavailable.
        """
        most = self._settings.max_question_characters
        if not self._watch.are_set():
            return self._everyones, most
        own = may_ask(self._engine, owner, self._settings)
        limits = OwnerLimits(active=own.active_questions or 0, per_minute=own.questions_per_minute or 0)
        return limits, min(own.question_characters or most, most)

    def of(self, owner: Owner) -> list[Allowance]:
        """Return the owner's allowances; none where no limit is set. Raises Unavailable."""
        if not self._watch.are_set():
            return []
        now = time.monotonic()
        with self._lock:
            read_at, kept = self._kept.get(owner.key, (-KEPT_SECONDS, []))
        if now - read_at < KEPT_SECONDS:
            return kept
        with transaction(self._engine) as connection:
            found = allowances_of(connection, owner, self._settings)
        with self._lock:
            self._kept[owner.key] = (now, found)
            self._kept.move_to_end(owner.key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return found

    def scarcest(self, owner: Owner) -> tuple[Allowance, Part] | None:
        """Return the allowance and limit of which the least is left, once little is left. Raises Unavailable."""
        parts = [(allowance, part) for allowance in self.of(owner) for part in allowance.parts()]
        found = max(parts, key=lambda pair: pair[1].share, default=None)
        return found if found is not None and found[1].share >= LITTLE_LEFT else None
