"""The test rig: each test has an empty database, and servers restart with their data."""

from __future__ import annotations

import psycopg2
import pytest
import redis
from sqlalchemy import Engine, text

from tests.stack import Servers, Stack


@pytest.mark.parametrize("visit", [1, 2])
def test_each_test_has_an_empty_migrated_database(engine: Engine, visit: int) -> None:
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM worker")).scalar_one() == 0
        connection.execute(text("CREATE TABLE left_behind ()"))


def test_embedded_servers_restart_with_their_data(own_stack: Stack) -> None:
    servers: Servers = own_stack.servers
    servers.stop_postgres()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(own_stack.database_url)
    servers.start_postgres()
    psycopg2.connect(own_stack.database_url).close()

    servers.redis.kill()
    with own_stack.redis_client() as client:
        with pytest.raises(redis.ConnectionError):
            client.ping()
        servers.start_redis()
        assert client.ping()
