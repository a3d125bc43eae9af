"""Tests that no statement on a question's path scans a growing table."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Engine, select

from shared.postgres.database import make_engine
from shared.settings import Settings
from shared.tables import message
from tests.bench.filling import Filled, fill
from tests.bench.plans import Plans, drawn, walk
from tests.shared.rig import RequestRig

#: Enough rows for the planner to prefer an index: it rightly scans a table of a few pages.
FILLED = Filled("plans", conversations=4000, messages=4, owners=80)


def test_statements_use_an_index(settings: Settings, rig_engine: Engine) -> None:
    fill(settings.database_url, FILLED)
    engine = make_engine(dataclasses.replace(settings, database_pool=2), name="plans")
    try:
        plans, numbers = Plans(engine), drawn(FILLED)
        walk(RequestRig(engine), FILLED, plans, numbers)
        assert {f"{seen.step}: {table}" for seen in plans.seen.values() for table in seen.scanned()} == set()
        assert len({seen.step for seen in plans.seen.values()}) >= 28, "all steps ran"
        used = {name for seen in plans.seen.values() for name in seen.indexes()}
        # The guide asks for two: a conversation's messages (here by branch), conversations by owner and activity.
        assert {"pk_message", "ix_conversation_owner_id_updated_at"} <= used

        (paged,) = [seen for seen in plans.seen.values() if seen.step == "list the next page"]
        assert paged.indexes() == ["ix_conversation_owner_id_updated_at"]

        with plans.step("a statement without an index"), engine.begin() as connection:
            connection.execute(select(message.c.id).where(message.c.content == "x"))
        assert "message" in list(plans.seen.values())[-1].scanned(), "a table scan is detected"
    finally:
        engine.dispose()
