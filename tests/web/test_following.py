"""Tests of sending to a viewer: at once while its connection is writable, and in order when it is slow."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from shared.people import Owner
from tests.patience import patient
from web.api.events import _Following
from web.asgi.direct_send import DirectBody
from web.watch.viewer import Conversation, LiveStream, Viewer

OWNER = Owner("browser", "alice")


class Server:
    """A connection as uvicorn presents it: the bytes written, and whether writing is paused."""

    def __init__(self) -> None:
        self.flow = self
        self.write_paused = False
        self.written = b""
        self.fault: Exception | None = None
        self._takes = asyncio.Event()

    async def send(self, message: Message) -> None:
        if self.fault:
            raise self.fault
        while self.write_paused:
            await self._takes.wait()
        self.written += message["body"]

    def pause(self) -> None:
        self.write_paused = True
        self._takes.clear()

    def resume(self) -> None:
        self.write_paused = False
        self._takes.set()


class Watched:
    """One answer with one viewer, and the task that follows it."""

    def __init__(self) -> None:
        self.server = Server()
        self.conversation = Conversation(uuid4())
        self.conversation.owner = OWNER
        self.stream = self.conversation.stream = LiveStream(uuid4(), self.conversation, now=0.0)
        self.viewer = Viewer(self.conversation, owner=OWNER, client="", cursor=None, now=0.0)
        self.conversation.viewers.add(self.viewer)
        self.following = asyncio.create_task(_Following(self.viewer, DirectBody({}, self.server.send)).run())

    def say(self, *words: str) -> None:
        """Append to the answer and wake its viewers."""
        for word in words:
            self.stream.text.delta(1, self.stream.text.length, word)
            self.conversation.wake()

    def comes_in_order(self, *words: str) -> bool:
        """Return whether each word was written once, in this order."""
        places = [self.server.written.find(word.encode()) for word in words]
        once = all(self.server.written.count(word.encode()) == 1 for word in words)
        return once and places == sorted(places)

    async def end(self) -> None:
        self.viewer.close()
        await asyncio.wait_for(self.following, patient(5))


def run(work: Callable[[Watched], Awaitable[None]]) -> None:
    async def main() -> None:
        watched = Watched()
        await asyncio.sleep(0.01)
        await work(watched)
        await watched.end()

    asyncio.run(main())


def test_text_is_written_without_waking_a_task() -> None:
    async def work(watched: Watched) -> None:
        watched.say("first ", "second ")
        assert watched.comes_in_order("first ", "second ")

    run(work)


def test_slow_connection_catches_up_in_order() -> None:
    async def work(watched: Watched) -> None:
        watched.say("first ")
        watched.server.pause()
        watched.say("second ")
        await asyncio.sleep(0.01)  # the task waits with the second word
        watched.say("third ", "fourth ")
        assert watched.comes_in_order("first ")
        watched.server.resume()
        watched.say("fifth ")  # before the task runs
        assert not watched.comes_in_order("fifth ")
        await asyncio.sleep(0.01)
        assert watched.comes_in_order("first ", "second ", "third fourth fifth ")
        watched.say("sixth ")
        assert watched.comes_in_order("fifth ", "sixth ")

    run(work)


def test_fault_closes_its_viewer(caplog: pytest.LogCaptureFixture) -> None:
    async def work(watched: Watched) -> None:
        watched.server.fault = ZeroDivisionError()
        watched.say("first ")
        assert watched.viewer.is_closed
        assert "will reconnect" in caplog.text

    run(work)


def test_unauthorized_viewer_is_closed_without_text() -> None:
    async def work(watched: Watched) -> None:
        watched.conversation.owner = Owner("browser", "bob")
        watched.say("first ")
        await asyncio.wait_for(watched.following, patient(5))
        assert b"first" not in watched.server.written

    run(work)


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_server_send_exposes_its_backpressure(http: str) -> None:
    """Without it, text is sent by a task again: slower, but still correct."""
    found: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found.append(DirectBody(scope, send).is_writable)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, http=http, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.wait_for(reader.readline(), patient(5))
        writer.close()
        server.should_exit = True
        await asyncio.wait_for(serving, patient(10))

    asyncio.run(main())
    assert found == [True]
