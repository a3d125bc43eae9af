"""A conversation's branch: the walk from a message up to its first ancestor, as a CTE."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, ColumnElement, Integer, Select, cast, literal, select

from shared.tables import message

#: Most messages of a branch that a claim returns for the prompt.
MAX_MESSAGES = 1000


def walk_from(leaf: ColumnElement[Any], *sources: Any, limit: ColumnElement[int] | None = None) -> CTE:
    """Return a CTE (id, parent_id, depth) of the branch that ends in `leaf`: at most `limit` rows, from depth 1 up.

    `sources` are the tables or CTEs of `leaf`, if it is a column.
    """
    m = message.c
    start: Select[Any] = select(m.id, m.parent_id, cast(literal(1), Integer).label("depth")).where(m.id == leaf)
    walk = (start.select_from(message, *sources) if sources else start).cte("walk", recursive=True)
    below = walk.c.depth < (cast(literal(MAX_MESSAGES), Integer) if limit is None else limit)
    return walk.union_all(select(m.id, m.parent_id, walk.c.depth + 1).join(walk, m.id == walk.c.parent_id).where(below))
