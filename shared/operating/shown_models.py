"""Which models the picker shows, and in which order: what administrators say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from shared import audit
from shared.audit import Kind
from shared.postgres.database import statement, transaction
from shared.tables import shown_model

_S = shown_model.c


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A model that is hidden or has a place, as provider/model. The first place is 1."""

    model: str
    hidden: bool
    place: int | None


def read_shown(engine: Engine) -> list[ShownModel]:
    """Return the models that are hidden or have a place, in the order of the picker. Raises Unavailable."""
    with statement(engine) as connection:
        ordered = select(_S.model, _S.hidden, _S.place).order_by(_S.place.nulls_last(), _S.model)
        return [ShownModel(row.model, row.hidden, row.place) for row in connection.execute(ordered)]


def hide(engine: Engine, models: Sequence[str]) -> None:
    """Leave these out of the picker. Conversations that began with them go on. Raises Unavailable."""
    with transaction(engine) as connection:
        _put(connection, [{"model": model, "hidden": True} for model in models], "hidden")
        _record(connection, models)


def show(engine: Engine, models: Sequence[str]) -> None:
    """Put these into the picker again. Raises Unavailable."""
    with transaction(engine) as connection:
        connection.execute(update(shown_model).where(_S.model.in_(models)).values(hidden=False))
        connection.execute(delete(shown_model).where(~_S.hidden, _S.place.is_(None)))
        _record(connection, models)


def order(engine: Engine, models: Sequence[str]) -> None:
    """Put these first in the picker, in this order; the others follow as the workers list them. Raises Unavailable.

    The first one is the default of a new conversation. No model at all restores the workers' order.
    """
    with transaction(engine) as connection:
        connection.execute(update(shown_model).values(place=None))
        named = list(dict.fromkeys(models))
        _put(connection, [{"model": model, "place": place} for place, model in enumerate(named, 1)], "place")
        connection.execute(delete(shown_model).where(~_S.hidden, _S.place.is_(None)))
        _record(connection, models)


def _put(connection: Connection, rows: list[dict[str, object]], column: str) -> None:
    if rows:
        new = upsert(shown_model).values(rows)
        connection.execute(new.on_conflict_do_update(index_elements=[_S.model], set_={column: new.excluded[column]}))


def _record(connection: Connection, models: Sequence[str]) -> None:
    audit.record(connection, Kind.MODELS_CHANGED, models=", ".join(models))
