"""The `world` of the lifecycle's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, delete, text

from shared.postgres.database import make_engine
from shared.settings import Settings, load_settings
from shared.tables import conversation, reconciler_tick, worker
from tests.conftest import TEMPLATE
from tests.shared.world import World
from tests.stack import Servers, wait_until


@pytest.fixture(scope="session")
def world_settings(servers: Servers) -> Settings:
    """Settings on the database of all worlds."""
    url = servers.create_database("world", template=TEMPLATE)
    return load_settings({"DATABASE_URL": url, "REDIS_URL": servers.redis_server.url, "NARU_TICK_SECONDS": "0.1"})


@pytest.fixture(scope="session")
def world_engine(world_settings: Settings) -> Iterator[Engine]:
    """One database for all worlds: emptying it takes 2 ms, making one 100.

    Handed out when Postgres has run for 3 s: just after its start the reconciler marks nobody lost.
    """
    engine = make_engine(world_settings, name="test")
    age = text("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
    with engine.connect() as connection:
        wait_until(lambda: connection.execute(age).scalar_one() > 3.1, what="Postgres has run for 3 s")
    yield engine
    engine.dispose()


@pytest.fixture
def world(world_engine: Engine) -> World:
    """An empty world. (Its requests and messages go with their conversations.)"""
    with world_engine.begin() as connection:
        for table in (conversation, worker, reconciler_tick):
            connection.execute(delete(table))
    return World(world_engine)
