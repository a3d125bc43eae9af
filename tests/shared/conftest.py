"""Fixtures of the lifecycle tests: the `rig` and its database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, delete

from shared.postgres import pooler
from shared.postgres.database import make_engine, make_listening_engine
from shared.settings import Settings, load_settings
from shared.tables import conversation, lane, person, person_group, quota, reconciler_tick, spending, worker
from tests.conftest import TEMPLATE
from tests.pgbouncer import running_pgbouncer
from tests.shared.rig import RequestRig, outlast_mercy
from tests.stack import Servers


@pytest.fixture(scope="session")
def rig_settings(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Settings]:
    """Yield settings with the database that all rigs share; behind PgBouncer with `--pooled`."""
    url = servers.create_database("rig", template=TEMPLATE)
    values = {"DATABASE_URL": url, "REDIS_URL": servers.redis_server.url, "NARU_TICK_SECONDS": "0.1"}
    if not request.config.getoption("--pooled"):
        yield load_settings(values)
        return
    with running_pgbouncer(servers.folder / "rig-pgbouncer", servers) as bouncer:
        pooled = {"DATABASE_URL": bouncer.address_of(url), "NARU_LISTEN_DATABASE_URL": url}
        assert pooler.leads_to_pooler(pooled["DATABASE_URL"])
        yield load_settings(values | pooled)


@pytest.fixture(scope="session")
def rig_engine(rig_settings: Settings) -> Iterator[Engine]:
    """Yield an engine on one database for all rigs: emptying it takes 2 ms, creating one 100 ms.

    Waits until the mercy after the start of Postgres is over.
    """
    engine = make_engine(rig_settings, name="test")
    outlast_mercy(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def rig(rig_engine: Engine, rig_settings: Settings) -> RequestRig:
    """Return a rig on an empty database. Deleting a row deletes those that belong to it."""
    with rig_engine.begin() as connection:
        for table in (conversation, worker, lane, reconciler_tick, person, person_group, quota, spending):
            connection.execute(delete(table))
    return RequestRig(rig_engine, make_listening_engine(rig_settings, name="test-listen"))
