"""What the tests of the frame look with: a browser's side of the event stream, and a worker's side of the live text.

An `Eye` checks while it reads: a delta must begin exactly where its text ends, so a gap or a doubled character fails
the test at once, whatever the test itself looks for.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import redis
from sqlalchemy import Engine

from shared import fleet, lifecycle
from shared.lifecycle import Answer, Claimed, Question
from shared.live.events import Event, Kind, key_of, to_value
from shared.people import Owner
from tests.patience import patient
from tests.stack import Stack, wait_until
from web.asgi.cookies import Cookies

ONE_HOUR = 3600.0
#: Every eye that was opened; closed after each test, also after one that failed.
OPENED: list[Eye] = []


def browser(stack: Stack) -> tuple[Owner, str]:
    """A new browser: its owner and the cookie header that it sends."""
    browser_id = uuid4()
    return Owner.browser(browser_id), "=".join(Cookies(stack.settings.secret_key).make(browser_id))


@dataclass
class Answered:
    """An HTTP answer, read whole."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)


def ask(url: str, path: str, *, method: str = "GET", **headers: str) -> Answered:
    """One request; header names are given with underscores."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patient(10))
    try:
        connection.request(method, path, headers={name.replace("_", "-"): each for name, each in headers.items()})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answered(answer.status, found, answer.read().decode())
    finally:
        connection.close()


@dataclass
class Seen:
    """One event as it arrived."""

    name: str
    data: dict[str, Any]
    at: float


@dataclass
class Eye:
    """One browser's view of one conversation. It may be closed and opened again, and then resumes."""

    url: str
    conversation_id: UUID
    cookie: str
    events: list[Seen] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    #: (request, attempt) that is shown, and its text.
    shown: tuple[str, int] = ("", 0)
    text: str = ""
    last_id: str = ""
    status: int = 0
    comments: int = 0
    bytes: int = 0
    _connection: http.client.HTTPConnection | None = None
    _thread: threading.Thread | None = None

    def open(self, *, resume: bool = True) -> Eye:
        """Look; with `resume` from where it was."""
        headers = {"Cookie": self.cookie, "Accept": "text/event-stream"}
        if resume and self.last_id:
            headers["Last-Event-ID"] = self.last_id
        self._connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=patient(30))
        self._connection.request("GET", f"/api/conversations/{self.conversation_id}/events", headers=headers)
        answer = self._connection.getresponse()
        self.status = answer.status
        self._thread = threading.Thread(target=self._read, args=(answer,), daemon=True)
        self._thread.start()
        OPENED.append(self)
        return self

    def close(self) -> None:
        """Look away, in the middle of whatever is being sent."""
        if self._connection is None or self._thread is None:
            return
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.join()
        self._connection.close()

    def join(self, *, seconds: float | None = None) -> bool:
        """Whether the connection has ended, after at most so long."""
        assert self._thread is not None
        self._thread.join(patient(10) if seconds is None else seconds)
        return not self._thread.is_alive()

    def until(self, condition: Callable[[Eye], object], *, seconds: float = 10.0, what: str = "") -> Eye:
        """Wait for what should be seen."""
        wait_until(lambda: self.faults or condition(self), seconds=seconds, what=what or "what the eye waits for")
        assert not self.faults
        return self

    def states(self) -> list[str]:
        """The phases in their order."""
        return [each.data["phase"] for each in list(self.events) if each.name == "state"]

    def state(self) -> dict[str, Any]:
        """The last state."""
        found = [each.data for each in list(self.events) if each.name == "state"]
        return found[-1] if found else {}

    def ends(self) -> list[dict[str, Any]]:
        """The ends that were told."""
        return [each.data for each in list(self.events) if each.name == "end"]

    def _read(self, answer: http.client.HTTPResponse) -> None:
        name, data, event_id = "", "", ""
        with contextlib.closing(answer), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for raw in answer:
                line = raw.decode().rstrip("\n")
                self.bytes += len(raw)
                if line.startswith(":"):
                    self.comments += 1
                elif line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data = line[6:]
                elif line.startswith("id: "):
                    event_id = line[4:]
                elif not line and name:
                    self._take(name, json.loads(data), event_id)
                    name, data, event_id = "", "", ""

    def _take(self, name: str, data: dict[str, Any], event_id: str) -> None:
        if event_id:
            self.last_id = event_id
        if name == "snapshot":
            self.shown, self.text = (data["request_id"], data["attempt"]), data["text"]
        elif name == "delta":
            if (data["request_id"], data["attempt"]) != self.shown or data["at"] != len(self.text):
                self.faults.append(f"at {len(self.text)} of {self.shown} came {data}")
            self.text += data["text"]
        if name in {"snapshot", "delta"} and data["next"] != len(self.text):
            self.faults.append(f"next is {data['next']}, the text has {len(self.text)}")
        self.events.append(Seen(name, data, time.monotonic()))


class Hand:
    """A worker's hand: claims requests and writes their streams and rows, as a worker does, from the test."""

    def __init__(self, stack: Stack, engine: Engine) -> None:
        self.engine = engine
        self.redis: redis.Redis = stack.redis_client()
        self.worker_id = uuid4()

    def enter(self, *, slots: int = 4) -> None:
        """Join the fleet."""
        member = fleet.Member(worker_id=self.worker_id, host="test", pid=0, version="0", slots=slots, models=())
        fleet.register(self.engine, member, lease_seconds=ONE_HOUR)

    def question(self, owner: Owner, conversation_id: UUID | None = None) -> tuple[UUID, UUID]:
        """A stored question: its conversation and its request."""
        question = Question(
            owner=owner,
            conversation_id=conversation_id or uuid4(),
            text="나루?",
            idempotency_key=uuid4().hex,
        )
        made = lifecycle.submit(self.engine, question, deadline_seconds=ONE_HOUR, max_characters=1000)
        return made.conversation_id, made.request_id

    def claim(self, request_id: UUID) -> Claimed:
        """Take it for its next attempt and say so in its stream."""
        claimed = lifecycle.claim(self.engine, request_id, worker_id=self.worker_id, models=("m",))
        assert claimed is not None
        self.write(request_id, Event(Kind.START, claimed.attempt))
        return claimed

    def write(self, request_id: UUID, *events: Event) -> None:
        """Entries of its live stream, in one pipeline."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for event in events:
                pipeline.xadd(key_of(request_id), {event.kind.value: to_value(event)})
            pipeline.execute()

    def finish(self, claimed: Claimed, text: str) -> None:
        """The row's end, then the stream's."""
        assert lifecycle.finish(self.engine, claimed, Answer(text=text, finish="stop"))
        self.write(claimed.request_id, Event(Kind.END, claimed.attempt, 0, "succeeded"))


def deltas(attempt: int, text: str, *, size: int, start: int = 0) -> list[Event]:
    """`text` from `start` on, as deltas of `size` characters."""
    return [
        Event(Kind.DELTA, attempt, offset, text[offset : offset + size]) for offset in range(start, len(text), size)
    ]
