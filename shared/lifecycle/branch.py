"""A conversation's branch: the walk from a message to its parents, as a piece of the statements that read it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, ColumnElement, Integer, Select, cast, literal, select

from shared.tables import message

#: Messages of a branch that a prompt is made of, at most.
MAX_MESSAGES = 1000


def walk_from(leaf: ColumnElement[Any], *sources: Any, limit: ColumnElement[int] | None = None) -> CTE:
    """The ids of the branch that ends in `leaf`, with their depth (the leaf's is 1), at most `limit` of them.

    `sources` are the tables or CTEs that `leaf` comes from, where it is a column.
    """
    m = message.c
    start: Select[Any] = select(m.id, m.parent_id, cast(literal(1), Integer).label("depth")).where(m.id == leaf)
    walk = (start.select_from(message, *sources) if sources else start).cte("walk", recursive=True)
    below = walk.c.depth < (cast(literal(MAX_MESSAGES), Integer) if limit is None else limit)
    return walk.union_all(select(m.id, m.parent_id, walk.c.depth + 1).join(walk, m.id == walk.c.parent_id).where(below))
