"""A hint that was taken and could not be acknowledged, because Redis hung just then; and then Redis is gone."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from shared.database import make_engine
from shared.tables import Status
from tests.crash.asking import Person
from tests.faults.proxy import Lines, Trap
from tests.stack import Stack, wait_until

SHORT = "[[sim: tokens=10 pace=100]]"


@pytest.mark.timeout(120)
def test_a_worker_lives_when_redis_dies_before_a_hint_was_acknowledged(own_stack: Stack) -> None:
    """Celery 5.7 gives unacknowledged messages back when its connection is lost, fails at it, and ends the worker."""
    own_stack.start_simulator()
    lines = Lines()
    line = lines.proxy(own_stack.servers.redis_server.port)
    there = urlsplit(own_stack.redis_url)
    through = there._replace(netloc=there.netloc.replace(f":{there.port}", f":{line.port}")).geturl()
    worker = own_stack.start_worker(redis_url=through)
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        trap = Trap(b"ZREM", forward=False, action=own_stack.servers.redis.freeze)
        line.set(trap=trap)
        request = alice.ask(SHORT)
        assert trap.sprung.wait(10)
        wait_until(lambda: "Couldn't ack" in worker.log_text(), seconds=40, what="the acknowledgement fails")
        own_stack.servers.redis.kill()
        own_stack.servers.start_redis()
        wait_until(lambda: worker.log_text().count("Connected to redis") > 1, seconds=30, what="it consumes again")
        assert worker.running
        for each in (request, alice.ask(SHORT)):
            assert alice.wait_end(each).status == Status.SUCCEEDED
    line.close()
    lines.close()
    engine.dispose()
