"""The frame while Redis or Postgres is away, and while it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from shared import fleet
from shared.lifecycle import Claimed
from shared.live.events import Event, Kind
from shared.postgres.database import make_engine, transaction
from tests.patience import patient
from tests.stack import Stack, get, wait_until
from tests.web.eyes import Eye, Hand, ask, browser, deltas

ANSWER = "나루에서 배를 기다립니다. " * 60


@pytest.fixture(scope="module")
def own_stack(module_own_stack: Stack) -> Stack:
    """One for all; each starts its web process, and what it has stopped."""
    return module_own_stack


@pytest.fixture(autouse=True)
def _ended(own_stack: Stack) -> Iterator[None]:
    yield
    for process in own_stack.processes:
        process.kill()


@pytest.fixture
def hand(own_stack: Stack) -> Iterator[Hand]:
    """A worker that the test plays, on servers that it may harm."""
    engine = make_engine(own_stack.settings, name="test")
    made = Hand(own_stack, engine)
    made.enter()
    yield made
    made.redis.close()
    engine.dispose()


def checkpoint(engine: Engine, hand: Hand, claimed: Claimed, text: str) -> None:
    """What the lease thread of a worker writes."""
    with transaction(engine) as connection:
        fleet.checkpoint(connection, hand.worker_id, {(claimed.request_id, claimed.attempt): text})


def shows(text: str, eye: Eye) -> bool:
    """Whether it shows just this."""
    return eye.text == text


def test_redis_killed_in_the_middle_and_back(own_stack: Stack, hand: Hand) -> None:
    """The text goes on from checkpoints, says that it is slow, and from the stream again when Redis is back, empty."""
    web = own_stack.start_web()
    owner, cookie = browser(own_stack)
    conversation_id, request_id = hand.question(owner)
    claimed = hand.claim(request_id)
    eye = Eye(web.url, conversation_id, cookie).open()
    hand.write(request_id, *deltas(1, ANSWER[:200], size=20))
    eye.until(lambda eye: eye.text == ANSWER[:200])
    own_stack.servers.redis.kill()
    eye.until(lambda eye: eye.state()["slow"], seconds=3, what="slow is said")
    for length in (300, 450):
        checkpoint(hand.engine, hand, claimed, ANSWER[:length])
        eye.until(partial(shows, ANSWER[:length]), seconds=3, what="a checkpoint")
    late = Eye(web.url, conversation_id, cookie).open()
    late.until(lambda eye: eye.text == ANSWER[:450], seconds=3, what="a new page, without Redis")
    ready = ask(web.url, "/readyz")
    assert (ready.status, ready.data["status"], ready.data["redis"]["ok"]) == (200, "degraded", False)
    own_stack.servers.start_redis()
    hand.write(request_id, Event(Kind.SNAPSHOT, 1, 0, ANSWER[:500]), *deltas(1, ANSWER, size=20, start=500))
    for each in (eye, late):
        each.until(lambda eye: eye.text == ANSWER and not eye.state()["slow"], what="all of it")
    hand.finish(claimed, ANSWER)
    for each in (eye, late):
        each.until(lambda eye: eye.ends())


def test_frozen_redis_is_noticed_and_does_not_delay_a_stop(own_stack: Stack, hand: Hand) -> None:
    own_stack.configure(redis_timeout_seconds=patient(0.5))
    web = own_stack.start_web()
    owner, cookie = browser(own_stack)
    conversation_id, request_id = hand.question(owner)
    hand.claim(request_id)
    eye = Eye(web.url, conversation_id, cookie).open()
    eye.until(lambda eye: eye.state().get("phase") == "thinking")
    own_stack.servers.redis.freeze()
    eye.until(lambda eye: eye.state()["slow"], seconds=4, what="slow is said")
    began = time.monotonic()
    answer = ask(web.url, f"/api/requests/{request_id}/stop", method="POST", cookie=cookie, x_naru="1")
    assert (answer.status, answer.data) == (200, {"status": "stopping"})
    assert time.monotonic() - began < own_stack.settings.redis_timeout_seconds, "nobody waits for Redis"
    eye.until(lambda eye: eye.ends(), seconds=10, what="the stop that no worker answers is carried out")
    assert eye.ends()[0]["status"] == "cancelled"
    own_stack.servers.redis.thaw()
    eye.until(lambda eye: not eye.state()["slow"], seconds=5, what="not slow any more")


def test_postgres_away_keeps_connections_and_state(own_stack: Stack, hand: Hand) -> None:
    web = own_stack.start_web()
    owner, cookie = browser(own_stack)
    conversation_id, request_id = hand.question(owner)
    claimed = hand.claim(request_id)
    hand.write(request_id, Event(Kind.DELTA, 1, 0, "one "))
    eye = Eye(web.url, conversation_id, cookie).open().until(lambda eye: eye.text == "one ")
    own_stack.servers.stop_postgres()
    eye.until(lambda eye: eye.state()["slow"], seconds=5, what="slow is said")
    assert eye.state()["phase"] == "streaming"
    hand.write(request_id, Event(Kind.DELTA, 1, 4, "two"))
    eye.until(lambda eye: eye.text == "one two", what="text goes on without Postgres")
    ready = ask(web.url, "/readyz")
    assert (ready.status, ready.data["postgres"]["ok"], ready.data["redis"]["ok"]) == (503, False, True)
    refused = ask(web.url, f"/api/requests/{request_id}/stop", method="POST", cookie=cookie, x_naru="1")
    assert (refused.status, refused.data["error"]) == (503, "unavailable")
    stranger = Eye(web.url, conversation_id, browser(own_stack)[1]).open()
    assert stranger.status == 404
    unknown = Eye(web.url, uuid4(), cookie).open()
    unknown.until(lambda eye: eye.state().get("slow"), seconds=5, what="a new page is told too")
    own_stack.servers.start_postgres()
    eye.until(lambda eye: not eye.state()["slow"], seconds=10, what="not slow any more")
    hand.finish(claimed, "one two")
    eye.until(lambda eye: eye.ends())


def test_server_stop_closes_open_connections_at_once(own_stack: Stack) -> None:
    web = own_stack.start_web()
    _, cookie = browser(own_stack)
    eyes = [Eye(web.url, uuid4(), cookie).open() for _ in range(5)]
    for eye in eyes:
        eye.until(lambda eye: eye.states())
    began = time.monotonic()
    web.terminate()
    assert web.wait(seconds=5) == 0
    assert time.monotonic() - began < patient(2)
    assert all(eye.join(seconds=patient(1)) for eye in eyes)


def test_the_server_starts_and_stops_while_redis_is_away(own_stack: Stack) -> None:
    own_stack.servers.stop_redis()
    web = own_stack.start_web(ready=False)
    wait_until(lambda: '"degraded"' in get(web.url + "/readyz")[1], what="ready without Redis")
    web.terminate()
    assert web.wait(seconds=5) == 0
    own_stack.servers.start_redis()
