"""The quirks of its models that this process knows, and the loop that shares it with the fleet.

A call reads facts from memory. One that learns a fact notes it there and wakes the loop, which stores it in
`model_fact` and reads what other processes have learnt. No call waits for Postgres, and nothing is lost while Postgres
is away: what could not be stored is stored later. An old fact (`shared.model_facts.FACT_DAYS`) is no longer read, so
that a server that has changed is tried afresh. Nor is a fact of another server, from before the provider has moved.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import Unavailable
from shared.model_facts import ANY_SERVER, Facts, Servers, learn, read_facts

log = logging.getLogger(__name__)

#: A process knows a fact of another one after this time at the latest.
READ_SECONDS = 30.0
_NONE: Mapping[str, Any] = {}


class Knowledge:
    """The facts of all models of one process.

    Used in its event loop, but `about` may be called in any thread: the facts of a model are replaced, never changed.
    """

    def __init__(self, servers: Callable[[], Servers] = lambda: ANY_SERVER) -> None:
        """`servers` returns the present servers of the process's providers."""
        self._servers = servers
        self._facts: dict[str, dict[str, Any]] = {}
        self._unstored: dict[tuple[str, str], Any] = {}
        self._has_learnt = asyncio.Event()

    def about(self, model: str) -> Mapping[str, Any]:
        """Return the facts of a model, by its full name, `provider/model`."""
        return self._facts.get(model, _NONE)

    def note(self, model: str, facts: Mapping[str, Any]) -> None:
        """Take what a call of a present server has learnt about a model. Never waits."""
        log.info("learnt about a model", extra={"model": model, "facts": sorted(facts)})
        self._facts[model] = {**self.about(model), **facts}
        self._unstored |= {(model, fact): value for fact, value in facts.items()}
        self._has_learnt.set()

    def forget(self, provider: str) -> None:
        """Drop what is known about the models of a provider that is new, or has moved; what its servers have taught
        is read again.
        """
        prefix = f"{provider}/"
        self._facts = {model: known for model, known in self._facts.items() if not model.startswith(prefix)}
        self._unstored = {key: value for key, value in self._unstored.items() if not key[0].startswith(prefix)}
        self._has_learnt.set()

    def is_present(self, provider: str, servers: frozenset[str]) -> bool:
        """Whether the provider still has one of these servers."""
        return not servers or not servers.isdisjoint(self._servers().get(provider, ()))

    async def exchange(self, engine: Engine) -> None:
        """Store what is not stored, then read everything. Changes nothing while Postgres is away."""
        pending, servers = dict(self._unstored), self._servers()
        try:
            found = await asyncio.to_thread(_exchange, engine, pending, servers)
        except (Unavailable, SQLAlchemyError) as error:
            log.info("facts about models were not exchanged: %s", type(error).__name__)
            return
        if servers != self._servers():
            self._has_learnt.set()  # a provider has moved meanwhile: once more
            return
        left = {key: value for key, value in self._unstored.items() if key not in pending or pending[key] != value}
        self._unstored = left
        facts = {model: dict(known) for model, known in found.items()}
        for (model, fact), value in left.items():
            facts.setdefault(model, {})[fact] = value
        self._facts = facts

    async def keep_exchanging(self, engine: Engine) -> None:
        """Exchange every `READ_SECONDS`, and at once after something was learnt, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_SECONDS):
                    await self._has_learnt.wait()
            self._has_learnt.clear()
            await self.exchange(engine)


def _exchange(engine: Engine, pending: Mapping[tuple[str, str], Any], servers: Servers) -> Facts:
    for (model, fact), value in pending.items():
        learn(engine, model, fact, value, servers.get(model.partition("/")[0], ()))
    return read_facts(engine, servers)


class Known:
    """The facts of one provider's models, by the provider's own names of them."""

    def __init__(
        self, knowledge: Knowledge | None = None, prefix: str = "", servers: frozenset[str] = frozenset()
    ) -> None:
        """`prefix` is the part before the slash in a model's full name. Without `knowledge`, nothing is shared.

        What other servers than the provider's present ones teach is not kept.
        """
        self._knowledge, self._prefix, self._servers = knowledge or Knowledge(), prefix, servers

    def about(self, model: str) -> Mapping[str, Any]:
        """Return the facts of a model."""
        return self._knowledge.about(f"{self._prefix}/{model}")

    def note(self, model: str, facts: Mapping[str, Any]) -> None:
        """Take what a call has learnt about a model, unless the provider has moved since the call began."""
        if self._knowledge.is_present(self._prefix, self._servers):
            self._knowledge.note(f"{self._prefix}/{model}", facts)
