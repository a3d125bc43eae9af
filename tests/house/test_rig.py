"""The test rig: each test has an empty database, and servers restart with their data."""

from __future__ import annotations

import signal
from pathlib import Path

import psycopg2
import pytest
import redis
from sqlalchemy import Engine, text

from tests.conftest import FORKS
from tests.forks import Forks
from tests.stack import Servers, Stack, wait_until


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


@pytest.mark.skipif(FORKS is None, reason="only Linux can fork a process that ends with its parent")
@pytest.mark.parametrize("module", ["web", "workers"])
def test_forked_process_ends_like_a_started_one(stack: Stack, module: str) -> None:
    ends = []
    for forks in (FORKS, None):
        stack.forks = forks
        process = stack.run(module, "-m", module, lease_seconds="soon")
        ends.append((process.wait(), process.log_text()))
    assert ends[0] == ends[1]
    assert ends[0][0] == 1
    assert "NARU_LEASE_SECONDS" in ends[0][1]


@pytest.mark.skipif(FORKS is None, reason="only Linux can fork a process that ends with its parent")
def test_forked_process_tells_of_its_death_by_a_signal(stack: Stack) -> None:
    process = stack.start_worker()
    assert process.running
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not process.running


@pytest.mark.skipif(FORKS is None, reason="only Linux can fork a process that ends with its parent")
def test_forked_process_ends_with_the_fork_server(stack: Stack) -> None:
    stack.forks = Forks()
    process = stack.start_worker(ready=False)
    stack.forks.close()
    stack.forks = FORKS
    stack.processes.remove(process)
    image = Path(f"/proc/{process.pid}/exe")
    wait_until(lambda: not image.exists(), seconds=10)
    assert not image.exists()
