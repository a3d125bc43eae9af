"""Limits on the questions of one owner: a condition for the statement that stores a question, and the reason to refuse.

Each count stops at its limit and uses its own index, so the cost does not depend on the number of the owner's rows.
"""

from __future__ import annotations

import math

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Interval,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from shared.errors import OwnerTooFast, TooManyActive
from shared.lifecycle.values import OwnerLimits
from shared.people import Owner
from shared.postgres.prepared import prepared
from shared.tables import ACTIVE, chat_request

_R = chat_request.c
_IS_OWNERS = _R.owner_id == bindparam("q_owner", type_=_R.owner_id.type)
# The cast is needed because Postgres would compare two bare parameters as text.
_MOST_ACTIVE = cast(bindparam("q_most_active"), Integer)
_MOST_RECENT = cast(bindparam("q_most_recent"), Integer)
# In the text, not as parameters: the plan is made once, and must use the partial index.
_IS_ACTIVE = _R.status.in_([literal_column(f"'{status.value}'") for status in ACTIVE])
_MINUTE = literal_column("interval '1 minute'", Interval())
# clock_timestamp() would change from row to row, so Postgres could not use an index for the comparison.
_NOW = func.statement_timestamp()
_IS_RECENT = _R.created_at > _NOW - _MINUTE


def _reaches(most: ColumnElement[int], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether the owner has at least `most` such requests; false if `most` is 0."""
    found = select(literal_column("1")).select_from(chat_request).where(_IS_OWNERS, condition).limit(most).subquery()
    return and_(most > 0, select(func.count()).select_from(found).scalar_subquery() >= most)


#: Its parameters are `q_owner` and those from `values_of`.
MAY_ASK = not_(or_(_reaches(_MOST_ACTIVE, _IS_ACTIVE), _reaches(_MOST_RECENT, _IS_RECENT)))

_oldest_counted = (
    select(func.extract("epoch", _R.created_at + _MINUTE - _NOW))
    .where(_IS_OWNERS, _IS_RECENT)
    .order_by(_R.created_at.desc())
    .offset(func.greatest(_MOST_RECENT - 1, 0))
    .limit(1)
    .scalar_subquery()
)
_WHY = prepared(
    select(
        _reaches(_MOST_ACTIVE, _IS_ACTIVE).label("is_full"),
        case((_MOST_RECENT > 0, _oldest_counted)).label("seconds"),
    )
)


def values_of(limits: OwnerLimits) -> dict[str, int]:
    """Return the parameters of MAY_ASK."""
    return {"q_most_active": limits.active, "q_most_recent": limits.per_minute}


def refuse_over_limit(connection: Connection, owner: Owner, limits: OwnerLimits) -> None:
    """Raise TooManyActive or OwnerTooFast if the owner has reached a limit."""
    row = connection.execute(_WHY, {"q_owner": owner.key, **values_of(limits)}).one()
    if row.is_full:
        raise TooManyActive(limits.active)
    if row.seconds is not None:
        raise OwnerTooFast(limits.per_minute, max(1, math.ceil(row.seconds)))
