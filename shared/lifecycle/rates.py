"""Requests and tokens per minute of a provider, held over all workers in the row of its lane.

Each limit is a time before which no request begins. A request moves the time on by its share of a minute; time that
passed unused is kept for a tenth of the limit. So no minute, wherever it begins, has more requests than the limit, nor
more tokens than it and the last request. The claim counts requests (`claiming.py`). Tokens are reserved once the prompt
is known. When the attempt ends, its tokens are settled, and the request is given back if it made no call; one that is
lost with its worker keeps both.

A provider may also say by itself how long nothing is left (`hold`), whether or not a limit is set. This time is apart
from the others, so that no settlement takes it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Engine,
    Interval,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
    update,
)

from shared.postgres.database import statement
from shared.postgres.prepared import prepared
from shared.tables import lane

NOW = func.clock_timestamp()
_SECOND = literal_column("interval '1 second'", Interval())
_MINUTE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The most requests and tokens of a minute; None means no limit."""

    requests: int | None = None
    tokens: int | None = None


NO_RATE = Rate()


def _kept(limit: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return how much may begin at once: a tenth of the limit."""
    return func.greatest(limit // 10, 1)


#: A request's share of a minute.
_REQUEST = _MINUTE / cast(lane.c.requests_per_minute - _kept(lane.c.requests_per_minute) + 1, Double) * _SECOND


def next_request_at() -> ColumnElement[Any]:
    """Return `requests_at` of a row of `lane` once one more request has begun."""
    earliest = NOW - (_kept(lane.c.requests_per_minute) - 1) * _REQUEST
    return func.greatest(lane.c.requests_at, earliest) + _REQUEST


def is_paced() -> ColumnElement[bool]:
    """Whether no request may begin now under a row of `lane`."""
    return func.greatest(lane.c.requests_at, lane.c.tokens_at, lane.c.rests_until) > NOW


_NAME, _TOKENS = bindparam("of_lane", type_=Text), bindparam("tokens", type_=BigInteger)
_MOST = lane.c.tokens_per_minute
_SHARE = _MINUTE / cast(func.greatest(_MOST - _kept(_MOST), 1), Double) * _SECOND
_RESERVE = prepared(
    update(lane)
    .where(lane.c.name == _NAME, _MOST.is_not(None), or_(lane.c.tokens_at.is_(None), lane.c.tokens_at <= NOW))
    .values(tokens_at=func.greatest(lane.c.tokens_at, NOW - _kept(_MOST) * _SHARE) + _TOKENS * _SHARE)
    .returning(lane.c.name)
)
_WAIT = prepared(select(func.extract("epoch", lane.c.tokens_at - NOW)).where(lane.c.name == _NAME, _MOST.is_not(None)))
_SETTLE = prepared(
    update(lane).where(lane.c.name == _NAME, _MOST.is_not(None)).values(tokens_at=lane.c.tokens_at + _TOKENS * _SHARE)
)
_GIVE_BACK = prepared(
    update(lane)
    .where(lane.c.name == _NAME, lane.c.requests_per_minute.is_not(None))
    .values(requests_at=lane.c.requests_at - _REQUEST)
)
_HOLD = prepared(
    update(lane)
    .where(lane.c.name == _NAME)
    .values(rests_until=func.greatest(lane.c.rests_until, NOW + cast(bindparam("seconds"), Double) * _SECOND))
)


def reserve_tokens(engine: Engine, provider: str, tokens: int) -> float:
    """Reserve tokens of a minute; return 0, or the seconds to wait if none are left. Raises Unavailable."""
    with statement(engine) as connection:
        if connection.execute(_RESERVE, {"of_lane": provider, "tokens": tokens}).one_or_none() is not None:
            return 0.0
        wait = connection.execute(_WAIT, {"of_lane": provider}).scalar_one_or_none()
        return max(float(wait or 0.0), 0.0)


def settle_tokens(engine: Engine, provider: str, *, reserved: int, used: int) -> None:
    """Replace the tokens that were reserved by those that were used. Raises Unavailable."""
    if reserved != used:
        with statement(engine) as connection:
            connection.execute(_SETTLE, {"of_lane": provider, "tokens": used - reserved})


def give_back_request(engine: Engine, provider: str) -> None:
    """Give back a request that the claim has counted and that made no call. Raises Unavailable."""
    with statement(engine) as connection:
        connection.execute(_GIVE_BACK, {"of_lane": provider})


def hold(engine: Engine, of_lane: str, *, seconds: float) -> None:
    """Let no request begin in this lane for a time, because its provider says that nothing is left.

    Raises Unavailable.
    """
    with statement(engine) as connection:
        connection.execute(_HOLD, {"of_lane": of_lane, "seconds": seconds})
