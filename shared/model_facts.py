"""Facts about models that servers have told the workers by refusing a call: quirks, and the size of a window.

A worker pays one refused call for a fact and writes it here; every process of the fleet reads it. The names of the
facts, and what their values mean, are in `workers/providers/`. `naru providers` shows them and can forget them. A fact
that is older than FACT_DAYS is not read: the next call tries the server afresh, and learns it again if it still holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.postgres.database import statement, transaction
from shared.tables import model_fact

#: The facts of each model, by the model's name (`provider/model`) and the fact's.
Facts = Mapping[str, Mapping[str, Any]]
FACT_DAYS = 30
_F = model_fact.c
_IS_RECENT = _F.learnt_at > func.clock_timestamp() - timedelta(days=FACT_DAYS)


def read_facts(engine: Engine) -> Facts:
    """Return everything that was learnt in the last FACT_DAYS. Raises Unavailable."""
    with statement(engine) as connection:
        rows = connection.execute(select(_F.model, _F.fact, _F.value).where(_IS_RECENT)).all()
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found.setdefault(row.model, {})[row.fact] = row.value
    return found


def learn(engine: Engine, model: str, fact: str, value: Any) -> None:
    """Store a fact, in place of an earlier value. `value` is anything that JSON can carry. Raises Unavailable."""
    put = upsert(model_fact).values(model=model, fact=fact, value=value)
    newer = {"value": put.excluded.value, "learnt_at": func.clock_timestamp()}
    with transaction(engine) as connection:
        connection.execute(put.on_conflict_do_update(index_elements=[_F.model, _F.fact], set_=newer))


def forget(engine: Engine, model: str) -> bool:
    """Delete the facts of a model, so that it is tried afresh; False if there were none. Raises Unavailable."""
    with transaction(engine) as connection:
        return bool(connection.execute(delete(model_fact).where(_F.model == model)).rowcount)
