"""Counts the rows that statements read: every statement of an engine is explained and run once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event


@dataclass
class RowsRead:
    """The rows that prepared statements have read, also those that a filter removed, by table."""

    of: dict[str, int] = field(default_factory=dict)

    def add(self, plan: dict[str, Any]) -> None:
        """Add the rows of a plan and the plans below it."""
        removed = sum(int(plan.get(f"Rows Removed by {what}", 0)) for what in ("Filter", "Index Recheck"))
        if "Relation Name" in plan and plan["Node Type"] != "ModifyTable":
            read = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
            self.of[plan["Relation Name"]] = self.of.get(plan["Relation Name"], 0) + round(read)
        for below in plan.get("Plans", ()):
            self.add(below)


@contextmanager
def rows_read(engine: Engine) -> Iterator[RowsRead]:
    """Yield the rows that the prepared statements inside read. Each runs twice: use it where that does no harm."""
    seen = RowsRead()

    def explain(*given: Any) -> None:
        _, cursor, text, parameters, *_ = given
        if text.startswith("EXECUTE"):
            with cursor.connection.cursor() as asking:
                asking.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {text}", parameters)
                ((plan,),) = asking.fetchone()
            seen.add(plan["Plan"])

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", explain)
