"""A Redis that answers and refuses every write: it costs Postgres little, and no question waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from sqlalchemy import Engine, text

from shared.lifecycle.overlooked import SAMPLE
from shared.postgres.database import make_engine
from shared.queue import queue_of
from shared.tables import Status
from tests import redis_refusals
from tests.crash.person import Person
from tests.shared.rig import RequestRig
from tests.stack import Stack, wait_until

WAITING = 600
#: Row updates that Postgres may see per second while Redis refuses, however many requests wait.
MOST_PER_SECOND = 50
SHORT = "[[sim: tokens=10 pace=100]]"
#: Counts the updates of requests exactly, outside any transaction.
COUNTER = (
    "CREATE SEQUENCE IF NOT EXISTS updates MINVALUE 0 START 0",
    """
    CREATE OR REPLACE FUNCTION count_update() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM nextval('updates'); RETURN NULL; END $$
    """,
    "CREATE OR REPLACE TRIGGER counted AFTER UPDATE ON chat_request FOR EACH ROW EXECUTE FUNCTION count_update()",
)


@pytest.fixture(scope="module")
def own_stack(module_own_stack: Stack) -> Stack:
    """Return the module's stack. Each test leaves a Redis that takes writes, and no processes."""
    return module_own_stack


@pytest.fixture
def rig(own_stack: Stack) -> Iterator[RequestRig]:
    """Yield a rig on the module's database, with a counter of the updates. No hint waits."""
    with own_stack.redis_client() as client:
        client.flushdb()
    engine: Engine = make_engine(own_stack.settings, name="test")
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE conversation CASCADE"))
        for statement in COUNTER:
            connection.execute(text(statement))
    yield RequestRig(engine)
    for process in own_stack.processes:
        process.kill()
    engine.dispose()


@contextmanager
def refusing(stack: Stack, how: str) -> Iterator[redis.Redis]:
    """Have the stack's Redis refuse writes until the end, and yield a client."""
    with stack.redis_client() as client, redis_refusals.refusing(client, stack.servers.redis_server.data, how):
        with pytest.raises(redis.ResponseError):
            client.set("key", "value")
        yield client


def updates(rig: RequestRig) -> int:
    """Return the number of row updates so far."""
    return int(rig.scalar("SELECT last_value FROM updates"))


@pytest.mark.parametrize("how", redis_refusals.REFUSALS)
def test_refusing_redis_costs_postgres_few_updates(own_stack: Stack, rig: RequestRig, how: str) -> None:
    webs = [own_stack.start_web(tick_seconds=0.1) for _ in range(2)]
    with refusing(own_stack, how) as client:
        rig.fill_with_queued(WAITING)
        rig.serve("demo", room=WAITING)
        wait_until(lambda: any("hint not sent" in web.log_text() for web in webs), what="the one that ticks notices")
        before, began = updates(rig), time.monotonic()
        time.sleep(5)
        assert (updates(rig) - before) / (time.monotonic() - began) <= MOST_PER_SECOND
    waiting = f"naru:{queue_of('demo')}"
    wait_until(lambda: client.llen(waiting) >= SAMPLE, seconds=60, what="ticks replace the lost hints")
    time.sleep(1)
    assert client.llen(waiting) < 2 * SAMPLE, "once, not with each tick"


def test_workers_take_questions_while_redis_refuses(own_stack: Stack, rig: RequestRig) -> None:
    own_stack.start_simulator()
    worker = own_stack.start_worker(broker_silence_seconds=1)
    with Person(own_stack, rig.engine) as alice:
        with refusing(own_stack, "full"):
            wait_until(lambda: "Redis is away" in worker.log_text(), what="the worker notices")
            for _ in range(3):
                assert alice.wait_end(alice.ask(SHORT)).status == Status.SUCCEEDED
        wait_until(lambda: "Redis is back" in worker.log_text(), what="the worker takes hints again")
        assert alice.wait_end(alice.ask(SHORT)).status == Status.SUCCEEDED
