"""Tests of the dispatcher: hints are sent in the background, and a failing Redis blocks no sender."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from shared.queue import TASK, Dispatcher, make_celery, queue_of
from shared.settings import Settings
from tests.patience import patient
from tests.stack import Stack, wait_until

LANE = "openai"
KEY = f"naru:{queue_of(LANE)}"


@pytest.fixture
def dispatcher(settings: Settings) -> Iterator[Dispatcher]:
    made = Dispatcher(settings)
    yield made
    made.close()


def hints(client: redis.Redis) -> list[dict[str, Any]]:
    """Return the messages in the queue, oldest first."""
    found: Any = client.lrange(KEY, 0, -1)
    return [json.loads(each) for each in reversed(found)]


def hinted(client: redis.Redis) -> list[str]:
    return [str(json.loads(base64.b64decode(each["body"]))[0][0]) for each in hints(client)]


def test_hint_carries_only_its_lane(dispatcher: Dispatcher, stack: Stack) -> None:
    with stack.redis_client() as client:
        for lane in (LANE, "anthropic", LANE):
            dispatcher.send(lane)
        wait_until(lambda: client.llen(KEY) == 2, seconds=5)
        wait_until(lambda: client.llen(f"naru:{queue_of('anthropic')}") == 1, seconds=5)
        assert hinted(client) == [LANE, LANE]
        first = hints(client)[0]
        assert first["headers"]["task"] == TASK
        assert json.loads(base64.b64decode(first["body"]))[:2] == [[LANE], {}]
        assert first["headers"]["lang"] == "py"
    assert dispatcher.healthy


def test_hint_equals_the_message_that_celery_makes(dispatcher: Dispatcher, settings: Settings, stack: Stack) -> None:
    task_id = make_celery(settings).send_task(TASK, args=[LANE], queue=queue_of(LANE)).id
    dispatcher.send(LANE)
    dispatcher.send(LANE)
    with stack.redis_client() as client:
        wait_until(lambda: client.llen(KEY) == 3, seconds=5)
        celerys, ours, again = hints(client)
    assert len({each["headers"]["id"] for each in (celerys, ours, again)}) == 3
    assert len({each["properties"]["delivery_tag"] for each in (celerys, ours, again)}) == 3
    for hint in (celerys, ours, again):
        own_id = hint["headers"]["id"]
        assert (hint["headers"]["root_id"], hint["properties"]["correlation_id"]) == (own_id, own_id)
        hint["headers"] |= {"id": task_id, "root_id": task_id}
        hint["properties"] |= {"correlation_id": task_id, "delivery_tag": ""}
        assert hint["headers"].pop("origin")
        hint["properties"].pop("reply_to")  # no reply is expected
    assert celerys == ours == again


def test_ensure_adds_only_the_missing_hints(dispatcher: Dispatcher, stack: Stack) -> None:
    with stack.redis_client() as client:
        dispatcher.send(LANE)
        dispatcher.ensure(LANE, 5)
        wait_until(lambda: client.llen(KEY) == 5, seconds=5)
        dispatcher.ensure(LANE, 3)
        dispatcher.send("anthropic")
        wait_until(lambda: client.llen(f"naru:{queue_of('anthropic')}") == 1, seconds=5)
        assert client.llen(KEY) == 5, "enough hints wait already"


def test_dispatcher_accepts_concurrent_sends(dispatcher: Dispatcher, stack: Stack) -> None:
    threads = [threading.Thread(target=dispatcher.send, args=(LANE,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    with stack.redis_client() as client:
        wait_until(lambda: client.llen(KEY) >= 20, seconds=5)
        for thread in threads:
            thread.join()
        assert client.llen(KEY) == 20


def test_close_sends_pending_hints(settings: Settings, stack: Stack) -> None:
    dispatcher = Dispatcher(settings)
    for _ in range(50):
        dispatcher.send(LANE)
    dispatcher.close()
    with stack.redis_client() as client:
        assert client.llen(KEY) == 50


def seconds_to_send(dispatcher: Dispatcher, number: int) -> float:
    began = time.monotonic()
    for _ in range(number):
        dispatcher.send(LANE)
    return time.monotonic() - began


def test_dispatcher_never_waits_for_redis(own_stack: Stack) -> None:
    timeout_seconds = patient(1)  # each send that waited for Redis would take this long
    own_stack.configure(redis_timeout_seconds=timeout_seconds)
    servers, dispatcher = own_stack.servers, Dispatcher(own_stack.settings)
    try:
        dispatcher.send(LANE)
        with own_stack.redis_client() as client:
            wait_until(lambda: client.llen(KEY) == 1, seconds=5)
        servers.redis.freeze()
        assert seconds_to_send(dispatcher, 500) < timeout_seconds
        servers.redis.thaw()
        with own_stack.redis_client() as client:
            wait_until(lambda: client.llen(KEY) == 501, seconds=8, what="a short freeze loses nothing")
        servers.stop_redis()
        dispatcher.send(LANE)
        wait_until(lambda: not dispatcher.healthy, seconds=8, what="the dispatcher notices")
        assert seconds_to_send(dispatcher, 500) < timeout_seconds
        servers.start_redis()
        wait_until(lambda: dispatcher.healthy, seconds=30)
        dispatcher.ensure(LANE, 2)
        with own_stack.redis_client() as client:
            wait_until(lambda: hinted(client) == [LANE, LANE], seconds=8)
    finally:
        began = time.monotonic()
        dispatcher.close()
        assert time.monotonic() - began < patient(3)
