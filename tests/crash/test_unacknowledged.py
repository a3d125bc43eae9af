"""Redis refuses writes, hangs or dies while a worker takes a hint: Celery must not end the worker."""

from __future__ import annotations

import time

import pytest

from shared.postgres.database import make_engine
from shared.queue import TASK, make_celery, queue_of
from shared.tables import Status
from tests.crash.person import Person
from tests.stack import Stack, wait_until

SHORT = "[[sim: tokens=10 pace=100]]"


@pytest.fixture(scope="module")
def own_stack(module_own_stack: Stack) -> Stack:
    """Return the module's stack with a simulator. Each test leaves a healthy Redis and a running worker."""
    module_own_stack.start_simulator()
    return module_own_stack


def test_hint_in_flight_is_stored_nowhere(stack: Stack) -> None:
    app = make_celery(stack.settings)
    app.send_task(TASK, args=["x"], queue=queue_of("demo"))
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[queue_of("demo")](connection.default_channel)
        message = wait_until(queue.get, what="the hint is taken")
        with stack.redis_client() as client:
            assert not client.keys("*unacked*")
        message.ack()


@pytest.mark.timeout(120)
def test_worker_survives_a_redis_that_refuses_writes(own_stack: Stack) -> None:
    """Redis refuses writes on a full disk, or as a primary without replicas. BRPOP is a write, too."""
    (worker,) = own_stack.workers(1)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice, own_stack.redis_client() as client:
        client.config_set("min-replicas-to-write", 1)
        refused = [alice.ask(SHORT)]
        time.sleep(3)
        refused.append(alice.ask(SHORT))
        client.config_set("min-replicas-to-write", 0)
        for request in (*refused, alice.ask(SHORT)):
            assert alice.wait_end(request).status == Status.SUCCEEDED
        assert worker.running
        wait_until(lambda: any(each["cmd"] == "brpop" for each in client.client_list()), what="hints are read again")
    engine.dispose()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["refuses writes", "hangs, then dies"])
def test_worker_survives_redis_failing_during_a_hint(own_stack: Stack, how: str) -> None:
    (worker,) = own_stack.workers(1)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        requests = []
        for _ in range(5):
            requests.append(alice.ask(SHORT))
            if how == "refuses writes":
                with own_stack.redis_client() as client:
                    client.config_set("maxmemory", 1)
                    requests.append(alice.ask(SHORT))
                    client.config_set("maxmemory", 0)
            else:
                own_stack.servers.redis.freeze()
                requests.append(alice.ask(SHORT))
                own_stack.servers.redis.kill()
                own_stack.servers.start_redis()
        for request in requests:
            assert alice.wait_end(request).status == Status.SUCCEEDED
            assert len(alice.calls(request)) == 1
        assert worker.running
    engine.dispose()
