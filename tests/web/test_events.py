"""Tests of the event stream over HTTP, with a real web process, Postgres and Redis and a fake worker."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from shared import lifecycle
from shared.live.events import Event, Kind, key_of
from shared.tables import Outcome
from tests.patience import patient
from tests.stack import Process, Stack, wait_until
from tests.web.clients import ask, browser
from tests.web.conftest import Look
from tests.web.fake_worker import FakeWorker, deltas


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack; it is emptied after each test."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start the web process."""
    return stack.start_web()


@pytest.fixture(autouse=True)
def _emptied(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE conversation, worker CASCADE"))


ANSWER = "".join(random.Random(7).choices("나루는 배를 타는 곳입니다. A ferry! 🙂é\n", k=3000))


def test_answer_appears_completely_and_ends(stack: Stack, look: Look, fake_worker: FakeWorker) -> None:
    fake_worker.enter()
    owner, cookie = browser(stack)
    conversation_id = uuid4()
    reader = look(conversation_id, cookie).open()
    reader.until(lambda reader: reader.state().get("phase") == "idle", what="an empty conversation is idle")
    _, request_id = fake_worker.question(owner, conversation_id)
    reader.until(lambda reader: reader.state()["phase"] == "next", what="the question is next")
    claimed = fake_worker.claim(request_id)
    reader.until(lambda reader: reader.state()["phase"] == "thinking")
    for event in deltas(1, ANSWER, size=20):
        fake_worker.write(request_id, event)
    reader.until(lambda reader: reader.text == ANSWER)
    fake_worker.finish(claimed, ANSWER)
    reader.until(lambda reader: reader.ends())
    assert reader.ends() == [{"request_id": str(request_id), "status": "succeeded", "code": None}]
    assert reader.state()["phase"] == "idle"
    assert [phase for phase in reader.states() if phase != "idle"] == ["next", "thinking", "streaming"]
    again = look(conversation_id, cookie).open()
    again.until(lambda reader: reader.ends(), what="a page that reconnects receives the end")
    assert again.text == ""


def test_last_words_arrive_when_the_row_ends_first(stack: Stack, look: Look, fake_worker: FakeWorker) -> None:
    fake_worker.enter()
    owner, cookie = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    claimed = fake_worker.claim(request_id)
    reader = look(conversation_id, cookie).open()
    fake_worker.write(request_id, *deltas(1, ANSWER[:1000], size=50))
    reader.until(lambda reader: reader.text == ANSWER[:1000])
    fake_worker.finish(claimed, ANSWER)
    reader.until(lambda reader: reader.ends())
    assert reader.text == ANSWER


def test_random_reconnects_see_no_gap_and_nothing_twice(stack: Stack, look: Look, fake_worker: FakeWorker) -> None:
    """Four readers close and reopen at random, with and without their last id, over two attempts."""
    fake_worker.enter()
    owner, cookie = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    first = fake_worker.claim(request_id)
    readers = [look(conversation_id, cookie).open() for _ in range(4)]
    chance = random.Random(11)
    for number, event in enumerate(deltas(1, ANSWER, size=9)):
        fake_worker.write(request_id, *[event] * chance.choice((1, 1, 2)))
        if number % 50 == 49:
            fake_worker.write(request_id, Event(Kind.SNAPSHOT, 1, 0, ANSWER[: event.offset + len(event.text)]))
            fake_worker.redis.xtrim(key_of(request_id), maxlen=1, approximate=False)
        if chance.random() < 0.3:
            reader = chance.choice(readers)
            reader.close()
            reader.open(resume=chance.random() < 0.7)
    for reader in readers:
        reader.until(lambda reader: reader.text == ANSWER, what="the complete first attempt")
    assert lifecycle.release(fake_worker.engine, first, text=ANSWER, outcome=Outcome.RELEASED, code="stream_broken")
    second = fake_worker.claim(request_id)
    other = ANSWER[::-1]
    fake_worker.write(request_id, *deltas(2, other, size=30), *deltas(1, ANSWER + "late", size=500))
    for reader in readers:
        reader.until(lambda reader: reader.shown[1] == 2 and reader.text == other, what="the complete second attempt")
        assert reader.state()["attempt"] == 2
    fake_worker.finish(second, other)
    for reader in readers:
        reader.until(lambda reader: reader.ends())


def test_unknown_event_id_gets_the_complete_text(stack: Stack, look: Look, fake_worker: FakeWorker) -> None:
    fake_worker.enter()
    owner, cookie = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    fake_worker.claim(request_id)
    fake_worker.write(request_id, *deltas(1, "one two three", size=4))
    for unknown in ("nonsense", f"{uuid4()}.1.4", f"{request_id}.7.4", f"{request_id}.1.-4", f"{request_id}.1.x"):
        reader = look(conversation_id, cookie, last_id=unknown).open()
        reader.until(lambda reader: reader.text == "one two three", what=unknown)
        reader.close()
    reader = look(conversation_id, cookie, last_id=f"{request_id}.1.4")
    reader.shown, reader.text = (str(request_id), 1), "one "
    reader.open().until(lambda reader: reader.text == "one two three")
    assert [each.name for each in reader.events if each.name != "state"] == ["delta"]


def test_stream_announces_questions_from_another_tab(stack: Stack, look: Look, fake_worker: FakeWorker) -> None:
    """Two questions follow so closely that no sweep may see the first end; both ends are sent."""
    fake_worker.enter()
    owner, cookie = browser(stack)
    conversation_id, first_id = fake_worker.question(owner)
    reader = look(conversation_id, cookie).open()
    reader.until(lambda reader: reader.state().get("request_id") == str(first_id))
    fake_worker.finish(fake_worker.claim(first_id), "one")
    _, second_id = fake_worker.question(owner, conversation_id)
    claimed = fake_worker.claim(second_id)
    fake_worker.write(second_id, Event(Kind.DELTA, 1, 0, "two"))
    reader.until(lambda reader: reader.text == "two")
    fake_worker.finish(claimed, "two")
    reader.until(lambda reader: len(reader.ends()) == 2)
    assert [end["request_id"] for end in reader.ends()] == [str(first_id), str(second_id)]


def test_stream_reports_queue_position_and_wait(
    stack: Stack, look: Look, fake_worker: FakeWorker, engine: Engine
) -> None:
    owner, cookie = browser(stack)
    conversations = [fake_worker.question(owner) for _ in range(3)]
    reader = look(conversations[2][0], cookie).open()
    reader.until(lambda reader: reader.state().get("phase") == "no_worker")
    fake_worker.enter(slots=1)
    done = fake_worker.claim(fake_worker.question(browser(stack)[0])[1])
    time.sleep(0.5)
    fake_worker.finish(done, "for the mean duration")
    reader.until(lambda reader: reader.state().get("position") == 3 and reader.state()["expected_seconds"], seconds=5)
    assert reader.state()["phase"] == "queued"
    first = fake_worker.claim(conversations[0][1])
    reader.until(lambda reader: reader.state().get("position") == 2, seconds=5)
    assert lifecycle.release(engine, first, text="", outcome=Outcome.RELEASED, wait_seconds=300, code="rate_limited")
    waiting = look(conversations[0][0], cookie).open()
    waiting.until(lambda reader: reader.state().get("phase") == "waiting", what="the provider's wait")
    assert 300 - patient(5) <= waiting.state()["retry_in_seconds"] <= 300
    assert waiting.state()["code"] == "rate_limited"


def test_stream_keeps_a_silent_connection_alive(stack: Stack, look: Look) -> None:
    _, cookie = browser(stack)
    reader = look(uuid4(), cookie).open()
    reader.until(lambda reader: reader.comments, seconds=15, what="a comment within ten seconds")
    assert reader.comments >= 1
    reader.close()


def test_connections_of_one_browser_are_limited_and_freed(stack: Stack, web: Process, look: Look) -> None:
    _, cookie = browser(stack)
    path = f"/api/conversations/{uuid4()}/events"
    readers = [look(uuid4(), cookie).open() for _ in range(20)]
    refused = ask(web.url, path, cookie=cookie)
    assert (refused.status, refused.data["error"]) == (429, "streams_per_owner")
    assert refused.headers["retry-after"]
    for reader in readers:
        reader.close()
    wait_until(lambda: look(uuid4(), cookie).open().status == 200, what="closed connections are freed")


def test_page_that_connects_late_gets_a_long_text(stack: Stack, look: Look, fake_worker: FakeWorker) -> None:
    fake_worker.enter()
    owner, cookie = browser(stack)
    conversation_id, request_id = fake_worker.question(owner)
    fake_worker.claim(request_id)
    long = ANSWER * 40
    fake_worker.write(request_id, *deltas(1, long, size=60))
    began = time.monotonic()
    reader = look(conversation_id, cookie).open().until(lambda reader: reader.text == long)
    assert time.monotonic() - began < patient(3)
    assert reader.bytes < 4 * len(long.encode())


def test_stream_without_a_row_sends_nothing(stack: Stack, look: Look, fake_worker: FakeWorker, engine: Engine) -> None:
    """A stream in Redis is shown only to the owner in Postgres."""
    fake_worker.enter()
    owner, _ = browser(stack)
    _, others_cookie = browser(stack)
    conversation_id = uuid4()
    stranger = look(conversation_id, others_cookie).open()
    stranger.until(lambda reader: reader.state().get("phase") == "idle")
    _, request_id = fake_worker.question(owner, conversation_id)
    fake_worker.claim(request_id)
    fake_worker.write(request_id, Event(Kind.DELTA, 1, 0, "secret"))
    assert stranger.join(), "a stranger who waited on the new conversation is disconnected"
    assert stranger.text == ""
    assert stranger.states() == ["idle"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM conversation")).scalar_one() == 1
