"""The parts of the statement that ends an attempt which settle what it used.

The attempt's row and the sums in `spending` change in one statement, and only once: it matches attempts that are open.
An attempt whose worker was lost is settled from its reservation and its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import CTE, BigInteger, ColumnElement, Numeric, case, cast, func, literal_column, null, select
from sqlalchemy.dialects.postgresql import insert as upsert

from shared.tables import request_attempt, spending

_A = request_attempt.c
_S = spending.c
#: The bytes of text that count as one token, for a text that no provider counted: high for English, right for Korean.
BYTES_PER_TOKEN = 3
SETTLED_COLUMNS = (_A.input_tokens, _A.output_tokens, _A.cached_input_tokens, _A.cost, _A.is_estimated)
NOTHING_KNOWN: Mapping[str, ColumnElement[Any]] = {each.name: cast(null(), each.type) for each in SETTLED_COLUMNS}


def settled(given: Mapping[str, ColumnElement[Any]] = NOTHING_KNOWN) -> dict[str, ColumnElement[Any]]:
    """Return the values of SETTLED_COLUMNS for the UPDATE that closes an attempt: those given, else an estimate."""
    is_unknown = given["input_tokens"].is_(None)
    written = cast(func.octet_length(_A.checkpoint) / BYTES_PER_TOKEN, BigInteger)
    estimated_output = case((_A.prompt_tokens.is_not(None), written))
    estimated_cost = _A.prompt_tokens * _A.input_price + written * _A.output_price
    return {
        "input_tokens": func.coalesce(given["input_tokens"], _A.prompt_tokens),
        "output_tokens": func.coalesce(given["output_tokens"], estimated_output),
        "cached_input_tokens": given["cached_input_tokens"],
        "cost": case((is_unknown, estimated_cost), else_=given["cost"]),
        "is_estimated": func.coalesce(given["is_estimated"], _A.prompt_tokens.is_not(None)),
    }


def summed(of: CTE, closed: CTE) -> CTE:
    """Return the CTE that adds the attempts in `closed` (request_id and SETTLED_COLUMNS) to their owners' sums.

    `of` has the id, owner_id and model of their requests. Attempts that used nothing, or whose use is unknown, do
    not count.
    """
    c = closed.c
    one: ColumnElement[int] = literal_column("1")
    nothing: ColumnElement[int] = literal_column("0")
    sums = {
        _S.attempts: func.count(),
        _S.input_tokens: func.sum(c.input_tokens),
        _S.output_tokens: func.sum(c.output_tokens),
        _S.cached_input_tokens: func.coalesce(func.sum(c.cached_input_tokens), nothing),
        _S.cost: cast(func.coalesce(func.sum(c.cost), nothing), Numeric),
        _S.unpriced: func.count(case((c.cost.is_(None), one))),
        _S.estimated: func.count(case((c.is_estimated, one))),
    }
    hour = func.date_trunc("hour", func.statement_timestamp(), "UTC")
    rows = (
        select(of.c.owner_id, hour, of.c.model, *sums.values())
        .select_from(closed.join(of, of.c.id == c.request_id))
        .where(c.input_tokens + c.output_tokens > 0)
        .group_by(of.c.owner_id, of.c.model)
    )
    columns = [_S.owner_id, _S.hour, _S.model, *sums]
    added = upsert(spending).from_select([column.name for column in columns], rows)
    together = {column.name: column + added.excluded[column.name] for column in sums}
    return added.on_conflict_do_update(index_elements=[_S.owner_id, _S.hour, _S.model], set_=together).cte("summed")
