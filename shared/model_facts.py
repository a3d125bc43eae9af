"""Facts about models that servers have told the workers by refusing a call: quirks, and the size of a window.

A worker pays one refused call for a fact and writes it here; every process of the fleet reads it. The names of the
facts, and what their values mean, are in `workers/providers/`. `naru providers` shows them and can forget them. A fact
that is older than FACT_DAYS is not read: the next call tries the server afresh, and learns it again if it still holds.
Nor is one that another server has taught, after a provider has moved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.postgres.database import statement, transaction
from shared.tables import model_fact

#: The facts of each model, by the model's name (`provider/model`) and the fact's.
Facts = Mapping[str, Mapping[str, Any]]
#: The servers of each provider, by the part before the slash in its models' names.
Servers = Mapping[str, Collection[str]]
FACT_DAYS = 30
ANY_SERVER: Servers = {}
_F = model_fact.c
_IS_RECENT = _F.learnt_at > func.clock_timestamp() - timedelta(days=FACT_DAYS)


def read_facts(engine: Engine, servers: Servers = ANY_SERVER) -> Facts:
    """Return everything that was learnt in the last FACT_DAYS. Raises Unavailable.

    A fact about a model of one of these providers must come from one of the provider's servers.
    """
    with statement(engine) as connection:
        rows = connection.execute(select(_F.model, _F.fact, _F.value, _F.servers).where(_IS_RECENT)).all()
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        present = servers.get(row.model.partition("/")[0])
        if present is None or row.servers is None or not set(present).isdisjoint(row.servers):
            found.setdefault(row.model, {})[row.fact] = row.value
    return found


def learn(engine: Engine, model: str, fact: str, value: Any, servers: Collection[str] = ()) -> None:
    """Store a fact that these servers have taught, in place of an earlier value. Raises Unavailable.

    `value` is anything that JSON can carry. A fact without servers holds for all.
    """
    put = upsert(model_fact).values(model=model, fact=fact, value=value, servers=sorted(servers) or None)
    newer = {"value": put.excluded.value, "servers": put.excluded.servers, "learnt_at": func.clock_timestamp()}
    with transaction(engine) as connection:
        connection.execute(put.on_conflict_do_update(index_elements=[_F.model, _F.fact], set_=newer))


def forget(engine: Engine, model: str) -> bool:
    """Delete the facts of a model, so that it is tried afresh; False if there were none. Raises Unavailable."""
    with transaction(engine) as connection:
        return bool(connection.execute(delete(model_fact).where(_F.model == model)).rowcount)
