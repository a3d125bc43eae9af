"""An honest person during an attack: clicks, asks, stops and reads a running answer, and notes how long each takes.

Everything runs in threads of the test's process; the attack is another process. An action that fails or times out
counts as `PATIENCE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy import Engine
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.attacks.wire import BINARY, CLOSE, PING, PONG, Socket, frame, rerun
from tests.patience import patient
from tests.stack import Stack, wait_until
from tests.web.clients import EventReader, browser
from tests.web.fake_worker import FakeWorker, deltas

PATIENCE_SECONDS = patient(30)
ASKERS = 4
PIECE = "word " * 4


class Page:
    """The browser's side of one page, on Streamlit's WebSocket."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.composer = ""
        self.session = ""

    @classmethod
    async def open(cls, url: str, cookie: str) -> Page:
        """Connect and draw the page once."""
        page = cls(await Socket.open(url, cookie=cookie))
        await page.click()
        return page

    async def click(self) -> None:
        """Open a new conversation and wait until it is drawn."""
        self.query = f"c={uuid4()}"
        self.socket.send(frame(rerun(query=self.query)))
        await self._drawn()

    async def ask(self, text: str) -> None:
        """Send a question from the composer and wait until the page shows its outcome."""
        message = BackMsg()
        message.rerun_script.query_string = self.query
        state = message.rerun_script.widget_states.widgets.add()
        state.id, state.chat_input_value.data = self.composer, text
        self.socket.send(frame(message.SerializeToString()))
        await self._drawn()

    async def _drawn(self) -> None:
        while True:
            opcode, payload = await self.socket.receive()
            if opcode == PING:
                self.socket.send(frame(payload, opcode=PONG))
            if opcode == CLOSE:
                raise ConnectionError(f"closed with {int.from_bytes(payload[:2], 'big')}")
            if opcode != BINARY:
                continue
            message = ForwardMsg.FromString(payload)
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.session = message.new_session.initialize.session_id
            elif kind == "delta" and message.delta.new_element.WhichOneof("type") == "chat_input":
                self.composer = message.delta.new_element.chat_input.id
            elif kind == "script_finished" and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                return


@dataclass
class Latencies:
    """The start (`time.monotonic()`) and the duration in seconds of each action."""

    taken: list[tuple[float, float]] = field(default_factory=list)

    def between(self, start: float, end: float) -> list[float]:
        """Return the durations of the actions that began in this period."""
        return [seconds for at, seconds in list(self.taken) if start <= at < end]


class Person:
    """An honest person who does all actions in parallel; a context manager. `took` has the latencies by action."""

    def __init__(self, stack: Stack, url: str, engine: Engine) -> None:
        self.took = {name: Latencies() for name in ("healthz", "stop", "click", "question", "stream")}
        self.closed: list[str] = []
        self._stack, self._url, self._engine = stack, url, engine
        self._over = threading.Event()
        self._written: list[tuple[int, float]] = []
        self._fake_worker = FakeWorker(stack, engine)
        self._owner, self._cookie = browser(stack)
        works: tuple[Callable[[], None], ...] = (self._look, self._stop, self._chat, self._write)
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]

    def __enter__(self) -> Self:
        self._fake_worker.enter()
        conversation_id, request_id = self._fake_worker.question(self._owner)
        self._claimed = self._fake_worker.claim(request_id)
        self._reader = EventReader(self._url, conversation_id, self._cookie).open()
        for thread in self._threads:
            thread.start()
        return self

    def wait_until_there(self) -> None:
        """Wait until each action was done once, because the first is slow: code is loaded and compiled then."""
        wait_until(
            lambda: all(each.taken for name, each in self.took.items() if name != "stream"),
            seconds=PATIENCE_SECONDS,
            what="the person",
        )

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        time.sleep(0.5)
        self._reader.close()
        self._fake_worker.redis.close()
        self._read()

    def _every(self, seconds: float, latencies: Latencies, once: Callable[[], bool]) -> None:
        while not self._over.wait(seconds):
            began = time.monotonic()
            is_good = once()
            latencies.taken.append((began, time.monotonic() - began if is_good else PATIENCE_SECONDS))

    def _ask(self, method: str, path: str) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, headers={"Cookie": self._cookie, "X-Naru": "1"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _look(self) -> None:
        self._every(0.1, self.took["healthz"], lambda: self._ask("GET", "/healthz"))

    def _stop(self) -> None:
        while not self._over.wait(0.5):
            _, request_id = self._fake_worker.question(self._owner)
            began = time.monotonic()
            is_good = self._ask("POST", f"/api/requests/{request_id}/stop")
            self.took["stop"].taken.append((began, time.monotonic() - began if is_good else PATIENCE_SECONDS))

    def _write(self) -> None:
        at, request_id, attempt = 0, self._claimed.request_id, self._claimed.attempt
        while not self._over.wait(0.1):
            self._written.append((at, time.monotonic()))
            self._fake_worker.write(request_id, *deltas(attempt, "x" * at + PIECE, size=len(PIECE), start=at))
            at += len(PIECE)

    def _read(self) -> None:
        """Match each written piece with the time at which it was read."""
        seen = [(each.data["next"], each.at) for each in self._reader.events if each.name in {"snapshot", "delta"}]
        for start, written in self._written:
            at = next((moment for upto, moment in seen if upto > start), written + PATIENCE_SECONDS)
            self.took["stream"].taken.append((written, at - written))

    def _chat(self) -> None:
        asyncio.run(self._click_and_ask())

    async def _click_and_ask(self) -> None:
        """Click and ask from several browsers in turn, so that none reaches a rate limit."""
        pages = [await Page.open(self._url, browser(self._stack)[1]) for _ in range(ASKERS)]
        turn = 0
        while not self._over.is_set():
            page = pages[turn % ASKERS]
            turn += 1
            for name, act in (("click", page.click()), ("question", page.ask("a short question"))):
                began = time.monotonic()
                try:
                    await asyncio.wait_for(act, PATIENCE_SECONDS)
                    taken = time.monotonic() - began
                except (OSError, TimeoutError) as error:
                    self.closed.append(str(error))
                    taken = PATIENCE_SECONDS
                self.took[name].taken.append((began, taken))
            await asyncio.sleep(0.4)
        for page in pages:
            page.socket.abort()
