"""Tests of the event stream while Redis or Postgres is away, and while web stops."""

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
from tests.web.clients import EventReader, ask, browser
from tests.web.fake_worker import FakeWorker, deltas
from tests.web.visitors import Visitor

ANSWER = "나루에서 배를 기다립니다. " * 60


@pytest.fixture(scope="module")
def own_stack(module_own_stack: Stack) -> Stack:
    """Share one stack; each test starts its web process, and restarts the servers that it stopped."""
    return module_own_stack


@pytest.fixture(autouse=True)
def _ended(own_stack: Stack) -> Iterator[None]:
    yield
    for process in own_stack.processes:
        process.kill()


@pytest.fixture
def fake_worker(own_stack: Stack) -> Iterator[FakeWorker]:
    """Yield a fake worker on servers that the test may stop."""
    engine = make_engine(own_stack.settings, name="test")
    made = FakeWorker(own_stack, engine)
    made.enter()
    yield made
    made.redis.close()
    engine.dispose()


def checkpoint(engine: Engine, fake_worker: FakeWorker, claimed: Claimed, text: str) -> None:
    """Write a checkpoint, as a worker's lease thread does."""
    with transaction(engine) as connection:
        fleet.checkpoint(connection, fake_worker.worker_id, {(claimed.request_id, claimed.attempt): text})


def shows(text: str, reader: EventReader) -> bool:
    """Return whether the reader shows exactly this text."""
    return reader.text == text


def test_text_continues_while_redis_is_killed_and_restarted(own_stack: Stack, fake_worker: FakeWorker) -> None:
    """Text comes from checkpoints, marked slow, and from the stream again once Redis is back, empty."""
    web = own_stack.start_web()
    owner, cookie = browser(own_stack)
    conversation_id, request_id = fake_worker.question(owner)
    claimed = fake_worker.claim(request_id)
    reader = EventReader(web.url, conversation_id, cookie).open()
    fake_worker.write(request_id, *deltas(1, ANSWER[:200], size=20))
    reader.until(lambda reader: reader.text == ANSWER[:200])
    own_stack.servers.redis.kill()
    reader.until(lambda reader: reader.state()["slow"], seconds=3, what="the state is slow")
    for length in (300, 450):
        checkpoint(fake_worker.engine, fake_worker, claimed, ANSWER[:length])
        reader.until(partial(shows, ANSWER[:length]), seconds=3, what="a checkpoint")
    late = EventReader(web.url, conversation_id, cookie).open()
    late.until(lambda reader: reader.text == ANSWER[:450], seconds=3, what="a new page, without Redis")
    ready = ask(web.url, "/readyz")
    assert (ready.status, ready.data["status"], ready.data["redis"]["ok"]) == (200, "degraded", False)
    own_stack.servers.start_redis()
    fake_worker.write(request_id, Event(Kind.SNAPSHOT, 1, 0, ANSWER[:500]), *deltas(1, ANSWER, size=20, start=500))
    for each in (reader, late):
        each.until(lambda reader: reader.text == ANSWER and not reader.state()["slow"], what="the complete text")
    fake_worker.finish(claimed, ANSWER)
    for each in (reader, late):
        each.until(lambda reader: reader.ends())


def test_frozen_redis_is_noticed_and_does_not_delay_a_stop(own_stack: Stack, fake_worker: FakeWorker) -> None:
    own_stack.configure(redis_timeout_seconds=patient(0.5))
    web = own_stack.start_web()
    owner, cookie = browser(own_stack)
    conversation_id, request_id = fake_worker.question(owner)
    fake_worker.claim(request_id)
    reader = EventReader(web.url, conversation_id, cookie).open()
    reader.until(lambda reader: reader.state().get("phase") == "thinking")
    own_stack.servers.redis.freeze()
    reader.until(lambda reader: reader.state()["slow"], seconds=4, what="the state is slow")
    began = time.monotonic()
    answer = ask(web.url, f"/api/requests/{request_id}/stop", method="POST", cookie=cookie, x_naru="1")
    assert (answer.status, answer.data) == (200, {"status": "stopping"})
    assert time.monotonic() - began < own_stack.settings.redis_timeout_seconds, "the stop does not wait for Redis"
    reader.until(lambda reader: reader.ends(), seconds=10, what="web carries out the stop that no worker answers")
    assert reader.ends()[0]["status"] == "cancelled"
    own_stack.servers.redis.thaw()
    reader.until(lambda reader: not reader.state()["slow"], seconds=5, what="the state is no longer slow")


def test_postgres_away_keeps_connections_and_state(own_stack: Stack, fake_worker: FakeWorker) -> None:
    web = own_stack.start_web()
    owner, cookie = browser(own_stack)
    conversation_id, request_id = fake_worker.question(owner)
    claimed = fake_worker.claim(request_id)
    fake_worker.write(request_id, Event(Kind.DELTA, 1, 0, "one "))
    reader = EventReader(web.url, conversation_id, cookie).open().until(lambda reader: reader.text == "one ")
    own_stack.servers.stop_postgres()
    reader.until(lambda reader: reader.state()["slow"], seconds=5, what="the state is slow")
    assert reader.state()["phase"] == "streaming"
    fake_worker.write(request_id, Event(Kind.DELTA, 1, 4, "two"))
    reader.until(lambda reader: reader.text == "one two", what="text continues without Postgres")
    ready = ask(web.url, "/readyz")
    assert (ready.status, ready.data["postgres"]["ok"], ready.data["redis"]["ok"]) == (503, False, True)
    refused = ask(web.url, f"/api/requests/{request_id}/stop", method="POST", cookie=cookie, x_naru="1")
    assert (refused.status, refused.data["error"]) == (503, "unavailable")
    stranger = EventReader(web.url, conversation_id, browser(own_stack)[1]).open()
    assert stranger.status == 404
    unknown = EventReader(web.url, uuid4(), cookie).open()
    unknown.until(lambda reader: reader.state().get("slow"), seconds=5, what="a new page is slow too")
    own_stack.servers.start_postgres()
    reader.until(lambda reader: not reader.state()["slow"], seconds=10, what="the state is no longer slow")
    fake_worker.finish(claimed, "one two")
    reader.until(lambda reader: reader.ends())


def test_server_stop_closes_open_connections_at_once(own_stack: Stack) -> None:
    web = own_stack.start_web()
    _, cookie = browser(own_stack)
    readers = [EventReader(web.url, uuid4(), cookie).open() for _ in range(5)]
    for reader in readers:
        reader.until(lambda reader: reader.states())
    began = time.monotonic()
    web.terminate()
    assert web.wait(seconds=5) == 0
    assert time.monotonic() - began < patient(2)
    assert all(reader.join(seconds=patient(1)) for reader in readers)


def test_server_starts_and_stops_while_redis_is_away(own_stack: Stack) -> None:
    own_stack.servers.stop_redis()
    web = own_stack.start_web(ready=False)
    wait_until(lambda: '"degraded"' in get(web.url + "/readyz")[1], what="ready without Redis")
    web.terminate()
    assert web.wait(seconds=5) == 0
    own_stack.servers.start_redis()


def test_account_pages_say_that_the_database_is_away(own_stack: Stack) -> None:
    """No page of theirs ends in an error of the server, and a session in use stays valid for a while."""
    engine = make_engine(own_stack.settings, name="test")
    visitor = Visitor(own_stack.start_web(auth="local").url)
    assert visitor.sign_up(engine).status == 303
    assert visitor.ask("/account").status == 200
    own_stack.servers.postgres.kill()
    answers = [
        visitor.ask(path) for path in ("/account", "/guest-chats", "/new-password?link=x", "/sign-up?invitation=x")
    ]
    answers += [visitor.post("/sign-out"), visitor.post("/account/end-all"), Visitor(visitor.url).sign_in()]
    assert {each.status for each in answers} == {503}
    assert all("The database does not respond right now" in each.body for each in answers)
    assert visitor.session_cookie, "signing out failed, so the browser keeps its cookie"
    assert visitor.ask("/").status == 200
    assert Visitor(visitor.url, {**visitor.cookies, visitor.session_cookie: "made up"}).ask("/").status == 303
    own_stack.servers.start_postgres()
    wait_until(lambda: visitor.ask("/account").status == 200, seconds=20, what="the database is back")
    assert visitor.post("/sign-out").status == 303
    engine.dispose()
