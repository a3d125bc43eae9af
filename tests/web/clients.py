"""HTTP clients of the web process: plain requests, and a reader of the event stream.

An `EventReader` checks what it reads: a delta must begin exactly where the text ends. `until` fails the test at a gap
or a repeated character.
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

from shared.people import Owner
from tests.patience import patient
from tests.stack import Stack, wait_until
from web.asgi.cookies import Cookies

#: Every open reader; all are closed after each test, even if it failed.
OPENED: list[EventReader] = []


def browser(stack: Stack) -> tuple[Owner, str]:
    """Return a new browser's owner and the cookie header that it sends."""
    browser_id = uuid4()
    return Owner.browser(browser_id), "=".join(Cookies(stack.settings.secret_key).make(browser_id))


@dataclass
class Answered:
    """A complete HTTP answer."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def data(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.body)


def ask(url: str, path: str, *, method: str = "GET", **headers: str) -> Answered:
    """Send one request; pass header names with underscores."""
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
class EventReader:
    """One browser's view of one conversation. It can be closed and opened again, and then resumes."""

    url: str
    conversation_id: UUID
    cookie: str
    events: list[Seen] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    #: The (request, attempt) that is shown; `text` is its text.
    shown: tuple[str, int] = ("", 0)
    text: str = ""
    last_id: str = ""
    status: int = 0
    comments: int = 0
    bytes: int = 0
    _connection: http.client.HTTPConnection | None = None
    _thread: threading.Thread | None = None

    def open(self, *, resume: bool = True) -> EventReader:
        """Connect and start reading; with `resume`, continue after the last event id."""
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
        """Close the connection, even in the middle of an event."""
        if self._connection is None or self._thread is None:
            return
        if self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self.join()
        self._connection.close()

    def join(self, *, seconds: float | None = None) -> bool:
        """Wait at most `seconds` for the connection to end; return whether it did."""
        assert self._thread is not None
        self._thread.join(patient(10) if seconds is None else seconds)
        return not self._thread.is_alive()

    def until(
        self, condition: Callable[[EventReader], object], *, seconds: float = 10.0, what: str = ""
    ) -> EventReader:
        """Wait until `condition` is true of this reader; return the reader."""
        wait_until(lambda: self.faults or condition(self), seconds=seconds, what=what or "an event")
        assert not self.faults
        return self

    def states(self) -> list[str]:
        """Return the phases seen, in order."""
        return [each.data["phase"] for each in list(self.events) if each.name == "state"]

    def state(self) -> dict[str, Any]:
        """Return the last state; empty before the first."""
        found = [each.data for each in list(self.events) if each.name == "state"]
        return found[-1] if found else {}

    def ends(self) -> list[dict[str, Any]]:
        """Return the `end` events seen."""
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
                self.faults.append(f"at {len(self.text)} of {self.shown}: unexpected delta {data}")
            self.text += data["text"]
        if name in {"snapshot", "delta"} and data["next"] != len(self.text):
            self.faults.append(f"next is {data['next']}, the text has {len(self.text)}")
        self.events.append(Seen(name, data, time.monotonic()))
