"""The allowances of owners: their limits and models, for a question that is about to be stored and for the page."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Self, TypeVar
from uuid import UUID

from sqlalchemy import Engine

from shared.errors import Unavailable
from shared.fleet import Fleet
from shared.lifecycle import OwnerLimits
from shared.people import Owner, groups
from shared.people.groups import Rules
from shared.personal_data import BLOCK, SEND, WARN
from shared.postgres.database import transaction
from shared.settings import GUEST, Settings
from shared.spending.limits import LOOK_SECONDS, Allowance, Part, Watch, allowances_of, may_ask

_Kept = TypeVar("_Kept")
#: A page that is drawn again within this time shows the same figures.
KEPT_SECONDS = 5.0
MOST_KEPT = 10_000
#: The used share of a limit from which the page says what is left.
LITTLE_LEFT = 0.8


@dataclass(frozen=True, slots=True)
class _Reserved:
    """The patterns of models that an owner's groups reserve, and those of other groups."""

    own: tuple[str, ...]
    others: tuple[str, ...]

    @classmethod
    def of(cls, rules: tuple[list[Rules], list[Rules]]) -> Self:
        own, others = (tuple(pattern for each in some for pattern in each.models) for some in rules)
        return cls(own, others)

    def admit(self, model: str) -> bool:
        """Whether the owner may use this model; without one, whether none is reserved for others."""
        return groups.matches(model, self.own) or not (groups.matches(model, self.others) if model else self.others)


class Allowances:
    """The allowances of one web process. Where no limit is set, nothing is read. Thread-safe."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings
        self._watch = Watch(engine, settings)
        self._everyones = OwnerLimits.of(settings)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, list[Allowance]]] = OrderedDict()
        #: The rules of all groups, and those of an owner's and of other groups; with the time at which they were read.
        self._all_rules: tuple[float, list[Rules]] = (-KEPT_SECONDS, [])
        self._rules: OrderedDict[str, tuple[float, tuple[list[Rules], list[Rules]]]] = OrderedDict()

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

    async def run(self) -> None:
        """Look for limits again and again, so that no question waits for it. Ends if the settings limit everybody."""
        while not self._watch.is_always:
            with contextlib.suppress(Unavailable):
                await asyncio.to_thread(self._watch.look)
            await asyncio.sleep(LOOK_SECONDS)

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
        return _Reserved.of(self._rules_of(owner)).admit(model)

    def personal_data(self, owner: Owner) -> str:
        """Return what happens to the owner's question with personal data: the strictest of settings and groups.

        Raises Unavailable.
        """
        policies = {self._settings.personal_data, *(each.personal_data for each in self._rules_of(owner)[0])}
        return next(policy for policy in (BLOCK, WARN, SEND) if policy in policies)

    def usable(self, owner: Owner, fleet: Fleet) -> Fleet:
        """Return the fleet with the models that the owner may use. Raises Unavailable."""
        rules = self._rules_of(owner)
        if not rules[1]:
            return fleet  # nobody else reserves a model
        reserved = _Reserved.of(rules)
        return replace(fleet, models=tuple(each for each in fleet.models if reserved.admit(each.name)))

    def _rules_of(self, owner: Owner) -> tuple[list[Rules], list[Rules]]:
        """Return the rules of the owner's groups, and those of other groups."""
        if self._settings.auth == GUEST:
            return [], []
        now = time.monotonic()
        with self._lock:
            read_at, kept = self._rules.get(owner.key, (-KEPT_SECONDS, ([], [])))
            all_read_at, rules = self._all_rules
        if now - read_at < KEPT_SECONDS:
            return kept
        if now - all_read_at >= KEPT_SECONDS:
            with transaction(self._engine) as connection:
                rules = groups.rules(connection)
            with self._lock:
                self._all_rules = (now, rules)
        if not rules:
            return [], []
        with transaction(self._engine) as connection:
            theirs = {each.id for each in groups.groups_of(connection, UUID(owner.id))}
        own = [each for each in rules if each.group_id in theirs]
        others = [each for each in rules if each.group_id not in theirs]
        _keep(self._rules, self._lock, owner, (now, (own, others)))
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
