"""Tests of live streams on several Redis servers: each stream on one of them, and one that fails slows its own only."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import Engine

from deploy.embedded import redis_server
from shared import fleet
from shared.following.best_text import BestText
from shared.lifecycle import Claimed
from shared.live.events import Event, Kind, key_of, to_value
from shared.live.shards import shard_of
from shared.postgres.database import transaction
from shared.settings import Settings
from tests.more_redis import more_redis
from tests.patience import patient
from tests.stack import Process, Stack, start, wait_until
from tests.web.clients import EventReader, ask, browser
from tests.web.fake_worker import FakeWorker
from web.watch.readers import Readers
from web.watch.viewer import Conversation, LiveStream


@dataclass
class Shard:
    """A second Redis, which the test may kill and start again."""

    server: redis_server.RedisServer
    process: Process

    @property
    def name(self) -> str:
        """Its name in logs and metrics."""
        return f"127.0.0.1:{self.server.port}"

    def start_again(self) -> None:
        """Start it, empty, at its old address."""
        self.process = start(self.process.command, log=self.process.log)
        assert redis_server.wait(self.server, self.process.child)


@pytest.fixture
def second(stack: Stack) -> Iterator[Shard]:
    """Yield a second Redis."""
    made = Shard(*more_redis(stack.servers, f"more-{stack.folder.parent.name}"))
    yield made
    made.process.kill()


def write(url: str, request_id: UUID, *events: Event) -> None:
    """Append entries to a live stream on this server."""
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        for event in events:
            client.xadd(key_of(request_id), {event.kind.value: to_value(event)})


def claimed_on(shard: int, fake_worker: FakeWorker, cookie_owner: object) -> Claimed:
    """Store and claim questions until one belongs to this shard of two."""
    while True:
        _, request_id = fake_worker.question(cookie_owner)  # type: ignore[arg-type]
        claimed = fake_worker.claim(request_id)
        if shard_of(request_id, 2) == shard:
            return claimed


def test_shard_that_fails_slows_only_its_own_answers(
    stack: Stack, engine: Engine, fake_worker: FakeWorker, second: Shard
) -> None:
    stack.configure(live_redis_urls=f"{stack.redis_url}, {second.server.url}")
    web = stack.start_web()
    owner, cookie = browser(stack)
    fake_worker.enter(slots=100)
    urls = (stack.redis_url, second.server.url)
    both = [claimed_on(shard, fake_worker, owner) for shard in (0, 1)]
    healthy, harmed = (EventReader(web.url, each.conversation_id, cookie).open() for each in both)
    for url, each in zip(urls, both, strict=True):
        write(url, each.request_id, Event(Kind.DELTA, 1, 0, "one "))
    for reader in (healthy, harmed):
        reader.until(lambda reader: reader.text == "one ")

    second.process.kill()
    harmed.until(lambda reader: reader.state()["slow"], what="its own answer is slow")
    write(urls[0], both[0].request_id, Event(Kind.DELTA, 1, 4, "two "))
    healthy.until(lambda reader: reader.text == "one two ", what="the other goes on")
    with transaction(engine) as connection:
        fleet.checkpoint(connection, fake_worker.worker_id, {(both[1].request_id, 1): "one from Postgres "})
    harmed.until(lambda reader: reader.text == "one from Postgres ")
    assert not any(event.data["slow"] for event in healthy.events if event.name == "state")
    measured = ask(web.url, "/metrics").body
    assert f'naru_live_redis_away{{server="{second.name}"}} 1.0' in measured
    assert f'naru_live_redis_away{{server="127.0.0.1:{stack.servers.redis_server.port}"}} 0.0' in measured

    second.start_again()
    harmed.until(lambda reader: not reader.state()["slow"], what="it is no longer slow")
    write(urls[1], both[1].request_id, Event(Kind.SNAPSHOT, 1, 0, "one from Postgres and on"))
    harmed.until(lambda reader: reader.text == "one from Postgres and on")


def test_stream_on_an_unexpected_shard_is_found(
    stack: Stack, engine: Engine, fake_worker: FakeWorker, second: Shard
) -> None:
    """The worker still has the list with one address, and writes every stream there."""
    stack.configure(live_redis_urls=f"{stack.redis_url}, {second.server.url}")
    web = stack.start_web()
    owner, cookie = browser(stack)
    fake_worker.enter(slots=100)
    moved = claimed_on(1, fake_worker, owner)
    reader = EventReader(web.url, moved.conversation_id, cookie).open()
    write(stack.redis_url, moved.request_id, Event(Kind.DELTA, 1, 0, "one two "))
    reader.until(lambda reader: reader.state().get("phase") == "thinking")
    with transaction(engine) as connection:
        fleet.checkpoint(connection, fake_worker.worker_id, {(moved.request_id, 1): "one "})
    reader.until(lambda reader: reader.text == "one two ", what="the text that only the other shard has")
    write(stack.redis_url, moved.request_id, Event(Kind.DELTA, 1, 8, "three "))
    reader.until(lambda reader: reader.text == "one two three ", what="live text from there")
    # The next attempt's worker has the new list.
    write(second.server.url, moved.request_id, Event(Kind.START, 2), Event(Kind.DELTA, 2, 0, "again "))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE chat_request SET attempt = 2 WHERE id = %s", (str(moved.request_id),))
        connection.exec_driver_sql(
            "INSERT INTO request_attempt (request_id, attempt, worker_id, checkpoint) VALUES (%s, 2, %s, 'a')",
            (str(moved.request_id), str(fake_worker.worker_id)),
        )
    reader.until(lambda reader: reader.text == "again ", what="the new attempt, on the new shard")
    best = BestText(stack.settings, engine)
    assert best(moved.request_id, 1) == "one two three ", "a stop finds the text on any shard"
    best.close()


async def find_all(settings: Settings, sought: list[LiveStream]) -> None:
    """Look for these streams as three sweeps do, until each has its text."""
    changed = asyncio.Event()
    readers = Readers(settings, on_change=lambda *_: changed.set(), on_health=lambda _: None)
    running = asyncio.create_task(readers.run())
    for stream in sought:
        readers.follow(stream)
    for _ in range(3):
        for stream in sought:
            readers.look_elsewhere(stream)
        await asyncio.sleep(0)
    async with asyncio.timeout(patient(60)):
        while not all(stream.text.length for stream in sought):
            changed.clear()
            await changed.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def connections_to(server: socket.socket) -> int:
    """Count the connections that wait to be accepted."""
    server.setblocking(False)
    for number in itertools.count():
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return number
    raise AssertionError


def test_hung_shard_delays_a_search_once_for_all(stack: Stack, second: Shard) -> None:
    """The first shard is expected to have the streams, the second has them, the third never answers."""
    sought = [LiveStream(UUID(int=3 * number), Conversation(uuid4()), now=0.0) for number in range(10)]
    for stream in sought:
        write(second.server.url, stream.request_id, Event(Kind.DELTA, 1, 0, "there "))
    with socket.create_server(("127.0.0.1", 0), backlog=100) as hung:
        urls = (stack.redis_url, second.server.url, f"redis://127.0.0.1:{hung.getsockname()[1]}")
        settings = replace(stack.settings, live_redis_urls=",".join(urls))
        asyncio.run(find_all(settings, sought))
        # One round for the first look at all, and one for the looks that came meanwhile.
        assert connections_to(hung) <= 2


@pytest.mark.parametrize("module", ["web", "workers"])
def test_same_server_twice_is_refused_at_start(stack: Stack, module: str) -> None:
    other_name = stack.redis_url.replace("127.0.0.1", "localhost")
    process = stack.run("twins", "-m", module, live_redis_urls=f"{stack.redis_url},{other_name}", port=0)
    assert wait_until(lambda: not process.running, seconds=20, what="it refuses to start")
    port = stack.servers.redis_server.port
    said = f"NARU_LIVE_REDIS_URLS names the same server twice, as 127.0.0.1:{port} and localhost:{port}. Remove one"
    assert said in process.log_text()
    assert stack.servers.password not in process.log_text()
