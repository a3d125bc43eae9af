"""Tests of the dispatcher: hints are sent in the background, and a failing Redis blocks no sender."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis

from shared import logs
from shared.postgres.database import make_engine
from shared.queue import QUEUE, TASK, Dispatcher, make_celery
from shared.reconciler import tick
from shared.settings import Settings
from tests.patience import patient
from tests.shared.rig import RequestRig
from tests.stack import Stack, wait_until

KEY = f"naru:{QUEUE}"


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


def test_hint_carries_only_an_id(dispatcher: Dispatcher, stack: Stack) -> None:
    ids = [uuid4() for _ in range(3)]
    with stack.redis_client() as client:
        for request_id in ids:
            dispatcher.send(request_id)
        wait_until(lambda: client.llen(KEY) == 3, seconds=5)
        assert hinted(client) == [str(request_id) for request_id in ids]
        first = hints(client)[0]
        assert first["headers"]["task"] == TASK
        assert json.loads(base64.b64decode(first["body"]))[:2] == [[str(ids[0])], {}]
        assert first["headers"]["lang"] == "py"
    assert dispatcher.healthy


def test_hint_equals_the_message_that_celery_makes(dispatcher: Dispatcher, settings: Settings, stack: Stack) -> None:
    request_id, headers = uuid4(), {logs.HTTP_REQUEST_ID: "http-1"}
    task_id = make_celery(settings).send_task(TASK, args=[str(request_id)], queue=QUEUE, headers=headers).id
    with logs.bound(**headers):
        dispatcher.send(request_id)
    dispatcher.send(request_id)
    with stack.redis_client() as client:
        wait_until(lambda: client.llen(KEY) == 3, seconds=5)
        celerys, ours, without = hints(client)
    assert len({celerys["headers"]["id"], ours["headers"]["id"], without["headers"]["id"]}) == 3
    assert len({each["properties"]["delivery_tag"] for each in (celerys, ours, without)}) == 3
    for hint in (celerys, ours, without):
        own_id = hint["headers"]["id"]
        assert (hint["headers"]["root_id"], hint["properties"]["correlation_id"]) == (own_id, own_id)
        hint["headers"] |= {"id": task_id, "root_id": task_id}
        hint["properties"] |= {"correlation_id": task_id, "delivery_tag": ""}
        assert hint["headers"].pop("origin")
        hint["properties"].pop("reply_to")  # no reply is expected
    assert ours == celerys
    assert without["headers"].pop(logs.HTTP_REQUEST_ID) == ""
    celerys["headers"].pop(logs.HTTP_REQUEST_ID)
    assert without == celerys


def test_dispatcher_accepts_concurrent_sends(dispatcher: Dispatcher, stack: Stack) -> None:
    threads = [threading.Thread(target=dispatcher.send, args=(uuid4(),)) for _ in range(20)]
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
        dispatcher.send(uuid4())
    dispatcher.close()
    with stack.redis_client() as client:
        assert client.llen(KEY) == 50


def seconds_to_send(dispatcher: Dispatcher, ids: list[UUID]) -> float:
    began = time.monotonic()
    for request_id in ids:
        dispatcher.send(request_id)
    return time.monotonic() - began


def test_dispatcher_never_waits_for_redis(own_stack: Stack) -> None:
    timeout_seconds = patient(1)  # each send that waited for Redis would take this long
    own_stack.configure(redis_timeout_seconds=timeout_seconds)
    servers, engine = own_stack.servers, make_engine(own_stack.settings, name="test")
    rig, dispatcher = RequestRig(engine), Dispatcher(own_stack.settings)
    try:
        dispatcher.send(uuid4())
        with own_stack.redis_client() as client:
            wait_until(lambda: client.llen(KEY) == 1, seconds=5)
        servers.redis.freeze()
        assert seconds_to_send(dispatcher, [uuid4() for _ in range(500)]) < timeout_seconds
        servers.redis.thaw()
        with own_stack.redis_client() as client:
            wait_until(lambda: client.llen(KEY) == 501, seconds=8, what="a short freeze loses nothing")

        waiting, running = rig.ask().request_id, rig.running()
        rig.put(waiting, dispatches=4)
        before = rig.row(running.request_id)
        servers.stop_redis()
        dispatcher.send(waiting)
        wait_until(lambda: not dispatcher.healthy, seconds=8, what="the dispatcher notices")
        assert seconds_to_send(dispatcher, [uuid4() for _ in range(500)]) < timeout_seconds
        assert rig.row(waiting)["dispatched_at"] is not None
        assert dispatcher.room() == 0, "a tick sends no hint meanwhile"
        servers.start_redis()
        wait_until(lambda: dispatcher.healthy, seconds=30)
        before_the_outage = dispatcher.seconds_since_outage()
        assert before_the_outage is not None
        repairs = tick(engine, stop_patience_seconds=3, outage_seconds=before_the_outage)
        assert repairs is not None
        assert repairs.resend == [waiting], "its last hint may be lost"
        assert rig.row(running.request_id) == before, "a running request is left alone"
        dispatcher.send(waiting)
        with own_stack.redis_client() as client:
            wait_until(lambda: str(waiting) in hinted(client), seconds=8)
    finally:
        began = time.monotonic()
        dispatcher.close()
        assert time.monotonic() - began < patient(3)
        engine.dispose()
