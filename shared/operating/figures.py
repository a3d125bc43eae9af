"""Times and tokens of answers, for the debug panel under an administrator's own answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Double, Engine, cast, func, literal_column, select

from shared.people import Owner
from shared.postgres.database import statement
from shared.tables import chat_request

_R = chat_request.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One answer, in seconds since its question and in the provider's tokens; None where they are unknown."""

    first_text_seconds: float | None
    whole_seconds: float | None
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """The owner's questions of the last day for which the answer cache was asked, and those that it answered."""

    asked: int
    hits: int


def cache_use_of(engine: Engine, owner: Owner) -> CacheUse:
    """Return the use of the answer cache; zeros where it is off. Raises Unavailable."""
    day_ago = func.clock_timestamp() - literal_column("interval '24 hours'")
    found = select(func.count(), func.count(_R.earlier_answer_at)).where(
        _R.owner_id == owner.key, _R.prompt_hash.is_not(None), _R.created_at > day_ago
    )
    with statement(engine) as connection:
        asked, hits = connection.execute(found).one()
    return CacheUse(asked=asked, hits=hits)


def figures_of(engine: Engine, request_ids: Collection[UUID], *, owner: Owner) -> Mapping[UUID, Figures]:
    """Return the figures of these requests of the owner. Raises Unavailable."""
    if not request_ids:
        return {}
    found = select(
        _R.id,
        cast(func.extract("epoch", _R.first_token_at - _R.created_at), Double).label("first_text_seconds"),
        cast(func.extract("epoch", _R.ended_at - _R.created_at), Double).label("whole_seconds"),
        _R.input_tokens,
        _R.cached_input_tokens,
        _R.output_tokens,
        _R.attempt,
    ).where(_R.id.in_(list(request_ids)), _R.owner_id == owner.key)
    with statement(engine) as connection:
        rows = connection.execute(found).mappings().all()
    return {row["id"]: Figures(**{name: row[name] for name in Figures.__dataclass_fields__}) for row in rows}
