"""The allowances of owners: their limits and models, for a question that is about to be stored and for the page."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Engine

from shared.fleet import Fleet
from shared.lifecycle import OwnerLimits
from shared.people import Owner, groups
from shared.postgres.database import transaction
from shared.settings import GUEST, Settings
from shared.spending.limits import Allowance, Part, Watch, allowances_of, may_ask

_Kept = TypeVar("_Kept")
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
        #: The models that each group reserves, and when they were read.
        self._reserved: tuple[float, dict[UUID, tuple[str, ...]]] = (-KEPT_SECONDS, {})
        self._models: OrderedDict[str, tuple[float, tuple[list[str], list[str]]]] = OrderedDict()

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
        _keep(self._kept, self._lock, owner, (now, found))
        return found

    def may_use(self, owner: Owner, model: str) -> bool:
        """Whether the owner may use this model: nobody reserves it, or one of the owner's groups does.

        Without a model, Naru would choose one: only where none is reserved. Raises Unavailable.
        """
        own, others = self._models_of(owner)
        return groups.matches(model, own) or not (groups.matches(model, others) if model else others)

    def usable(self, owner: Owner, fleet: Fleet) -> Fleet:
        """Return the fleet with the models that the owner may use. Raises Unavailable."""
        return replace(fleet, models=tuple(each for each in fleet.models if self.may_use(owner, each.name)))

    def _models_of(self, owner: Owner) -> tuple[list[str], list[str]]:
        """Return the patterns of the models that the owner's groups reserve, and of those that other groups do."""
        if self._settings.auth == GUEST:
            return [], []
        now = time.monotonic()
        with self._lock:
            read_at, kept = self._models.get(owner.key, (-KEPT_SECONDS, ([], [])))
            reserved_at, reserved = self._reserved
        if now - read_at < KEPT_SECONDS:
            return kept
        if now - reserved_at >= KEPT_SECONDS:
            with transaction(self._engine) as connection:
                reserved = groups.reserved_models(connection)
            with self._lock:
                self._reserved = (now, reserved)
        if not reserved:
            return [], []
        with transaction(self._engine) as connection:
            theirs = {each.id for each in groups.groups_of(connection, UUID(owner.id))}
        own = [pattern for group_id, patterns in reserved.items() for pattern in patterns if group_id in theirs]
        others = [pattern for group_id, patterns in reserved.items() for pattern in patterns if group_id not in theirs]
        _keep(self._models, self._lock, owner, (now, (own, others)))
        return own, others

    def scarcest(self, owner: Owner) -> tuple[Allowance, Part] | None:
        """Return the allowance and the limit that is closest to its end, once little is left. Raises Unavailable."""
        parts = [(allowance, part) for allowance in self.of(owner) for part in allowance.parts()]
        found = max(parts, key=lambda pair: pair[1].share, default=None)
        return found if found is not None and found[1].share >= LITTLE_LEFT else None


def _keep(kept: OrderedDict[str, _Kept], lock: threading.Lock, owner: Owner, value: _Kept) -> None:
    with lock:
        kept[owner.key] = value
        kept.move_to_end(owner.key)
        while len(kept) > MOST_KEPT:
            kept.popitem(last=False)
