"""Fixtures of the lifecycle tests: the `rig` and its database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, delete, text

from shared.postgres.database import make_engine
from shared.settings import Settings, load_settings
from shared.tables import conversation, lane, reconciler_tick, worker
from tests.conftest import TEMPLATE
from tests.shared.rig import RequestRig
from tests.stack import Servers, wait_until


@pytest.fixture(scope="session")
def rig_settings(servers: Servers) -> Settings:
    """Return settings with the database that all rigs share."""
    url = servers.create_database("rig", template=TEMPLATE)
    return load_settings({"DATABASE_URL": url, "REDIS_URL": servers.redis_server.url, "NARU_TICK_SECONDS": "0.1"})


@pytest.fixture(scope="session")
def rig_engine(rig_settings: Settings) -> Iterator[Engine]:
    """Yield an engine on one database for all rigs: emptying it takes 2 ms, creating one 100 ms.

    Waits until Postgres has run for 3 s, because just after a start the reconciler marks no worker lost.
    """
    engine = make_engine(rig_settings, name="test")
    age = text("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
    with engine.connect() as connection:
        wait_until(lambda: connection.execute(age).scalar_one() > 3.1, what="Postgres has run for 3 s")
    yield engine
    engine.dispose()


@pytest.fixture
def rig(rig_engine: Engine) -> RequestRig:
    """Return a rig on an empty database. Deleting a conversation deletes its requests and messages."""
    with rig_engine.begin() as connection:
        for table in (conversation, worker, lane, reconciler_tick):
            connection.execute(delete(table))
    return RequestRig(rig_engine)
