"""A small real server that runs OpenAI responses in background, in a thread each, whether anybody reads them or not.

It streams the events of a response with their numbers, again from any of them, cancels, forgets, and counts what it was
asked to make. `Responses` is its memory, which outlives a restart of the `ResponsesServer` that serves it.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from tests.patience import patient
from tests.providers.wild import event

END_SECONDS = 5.0
LATE = "This response can no longer be streamed because it is more than 5 minutes old."
USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 30,
    "output_tokens_details": {"reasoning_tokens": 12},
    "total_tokens": 50,
}
WORDS = ("나루에 ", "배가 ", "있다. ")


@dataclass(frozen=True)
class Script:
    """How a response goes: waits, thinks, writes, and ends."""

    text: Sequence[str] = WORDS
    #: Parts of the summary of the reasoning; each is one delta.
    thoughts: Sequence[str] = ()
    refusal: Sequence[str] = ()
    #: Seconds before the reply begins, in the queue, and before each delta.
    accept: float = 0.0
    queue: float = 0.0
    pace: float = 0.0
    status: str = "completed"
    #: `incomplete_details.reason` of an incomplete response, or the error of a failed one.
    reason: str = ""
    error: Mapping[str, str] | None = None
    #: An `error` event in front of the first delta.
    error_event: Mapping[str, str] | None = None
    #: Whether its last event is missing.
    is_silent: bool = False


class Running:
    """One response, generated in a thread of its own."""

    def __init__(self, body: Mapping[str, Any], script: Script) -> None:
        # Unlike that of any other server: a worker may still cancel the calls of an earlier one.
        self.id, self.body, self.script = f"resp_{uuid4().hex}", body, script
        self.events: list[dict[str, Any]] = []
        self.changed = Condition()
        self.status = "queued"
        #: Whether all of its events are there.
        self.is_done = False
        #: The deltas that were generated, which is what is billed.
        self.deltas = 0
        self._cancelled = Event()
        self._written: dict[str, str] = {"text": "", "refusal": "", "summary": ""}
        Thread(target=self._generate, daemon=True).start()

    def document(self) -> dict[str, Any]:
        """Return the response object."""
        s, written = self.script, self._written
        content = [{"type": "output_text", "text": written["text"]}] if written["text"] else []
        content += [{"type": "refusal", "refusal": written["refusal"]}] if written["refusal"] else []
        summary = [{"type": "summary_text", "text": written["summary"]}] if written["summary"] else []
        return {
            "id": self.id,
            "object": "response",
            "background": True,
            "status": self.status,
            "error": s.error if self.status == "failed" else None,
            "incomplete_details": {"reason": s.reason} if self.status == "incomplete" else None,
            "output": [
                {"type": "reasoning", "summary": summary},
                {"type": "message", "role": "assistant", "content": content},
            ],
            "usage": USAGE if self.is_over else None,
        }

    @property
    def is_over(self) -> bool:
        return self.status not in ("queued", "in_progress")

    def events_from(self, place: int) -> list[dict[str, Any]]:
        """Return the events from the one with this number on; wait up to a second for the first."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.events) > place, 1.0)
            return self.events[place:]

    def cancel(self) -> None:
        """Stop generating. A response that is over stays as it is."""
        self._cancelled.set()
        with self.changed:
            self.changed.wait_for(lambda: self.is_over, patient(END_SECONDS))

    def _generate(self) -> None:
        s = self.script
        self._add("response.created", response=self.document())
        self._add("response.queued", response=self.document())
        self._cancelled.wait(s.queue)
        self.status = "in_progress"
        self._add("response.in_progress", response=self.document())
        if s.error_event is not None:
            self._add("error", **s.error_event)
        for kind, place, delta in self._deltas():
            if self._cancelled.wait(s.pace):
                break
            self.deltas += 1
            self._written[place] += delta
            self._add(kind, delta=delta, item_id="msg_1", output_index=0)
        self.status = "cancelled" if self._cancelled.is_set() else s.status
        if not s.is_silent:
            self._add(f"response.{self.status}", response=self.document())
        self.is_done = True

    def _deltas(self) -> Iterator[tuple[str, str, str]]:
        s = self.script
        for thought in s.thoughts:
            yield "response.reasoning_summary_text.delta", "summary", thought
        for text in s.text:
            yield "response.output_text.delta", "text", text
        for refusal in s.refusal:
            yield "response.refusal.delta", "refusal", refusal

    def _add(self, kind: str, **fields: Any) -> None:
        with self.changed:
            self.events.append({"type": kind, "sequence_number": len(self.events), **fields})
            self.changed.notify_all()


@dataclass
class Responses:
    """The memory of a server. The nth response that it is asked to make plays the nth script, or the last one."""

    scripts: Sequence[Script] = (Script(),)
    created: list[Running] = field(default_factory=list)
    known: dict[str, Running] = field(default_factory=dict)
    #: The path and query of each look at a response, and the ids of cancelled ones.
    looks: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    #: The next cancels that fail, because the server is busy.
    failing_cancels: int = 0
    #: Whether no response is streamed again.
    is_late: bool = False
    #: Refusals of parameters, as in {"reasoning": "…"}: the message for a body that has it.
    refused: Mapping[str, str] = field(default_factory=dict)
    refusals: int = 0

    def create(self, body: Mapping[str, Any]) -> Running:
        script = self.scripts[min(len(self.created), len(self.scripts) - 1)]
        made = Running(body, script)
        self.created.append(made)
        self.known[made.id] = made
        return made

    def forget(self) -> None:
        """Drop all responses, as after their time or a restart without storage."""
        self.known.clear()


class ResponsesServer:
    """Serves `responses` on `port`, by default on a free one."""

    def __init__(self, responses: Responses, *, port: int = 0) -> None:
        self.responses = responses
        self._sockets: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.owner = self
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def break_connections(self) -> None:
        """Cut all connections. The responses go on."""
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> None:
        self._sockets.add(connection)

    def closed(self, connection: socket.socket) -> None:
        self._sockets.discard(connection)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.break_connections()
        self._thread.join(patient(END_SECONDS))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    owner: ResponsesServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is an ordinary case here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    server: _Server

    @property
    def memory(self) -> Responses:
        return self.server.owner.responses

    def setup(self) -> None:
        super().setup()
        self.server.owner.opened(self.connection)

    def finish(self) -> None:
        self.server.owner.closed(self.connection)
        super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path).path.split("/")
        if parts[-1] == "cancel":
            self._cancel(parts[-2])
        else:
            self._create(json.loads(raw))

    def do_GET(self) -> None:
        self.memory.looks.append(self.path)
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        found = self.memory.known.get(url.path.split("/")[-1])
        if url.path.endswith("/models"):
            self._json(200, {"object": "list", "data": [{"id": "thinker"}]})
        elif found is None:
            self._refuse(404, "Response not found.", code="not_found")
        elif query.get("stream") != "true":
            self._json(200, found.document())
        elif self.memory.is_late:
            self._refuse(400, LATE)
        else:
            self._stream(found, int(query.get("starting_after", "-1")))

    def _create(self, body: Mapping[str, Any]) -> None:
        told = next((said for name, said in self.memory.refused.items() if name in body), "")
        if not told and body.get("background") and not body.get("store"):
            told = "Background mode requires store to be true."
        if told:
            self.memory.refusals += 1
            self._refuse(400, told)
            return
        made = self.memory.create(body)
        time.sleep(made.script.accept)
        self._stream(made, -1)

    def _cancel(self, call_id: str) -> None:
        found = self.memory.known.get(call_id)
        if found is None:
            self._refuse(404, "Response not found.", code="not_found")
            return
        if self.memory.failing_cancels > 0:
            self.memory.failing_cancels -= 1
            self._refuse(503, "Try again later.", code="server_busy")
            return
        self.memory.cancelled.append(call_id)
        found.cancel()
        self._json(200, found.document())

    def _stream(self, found: Running, after: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        place = after + 1
        while True:
            fresh = found.events_from(place)
            for each in fresh:
                piece = event(each, each["type"])
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            place += len(fresh)
            if found.is_done and place == len(found.events):
                self.wfile.write(b"0\r\n\r\n")
                return

    def _refuse(self, status: int, message: str, code: str | None = None) -> None:
        self._json(status, {"error": {"message": message, "type": "invalid_request_error", "code": code}})

    def _json(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def wait_for(condition: Any, *, seconds: float = 10.0) -> None:
    """Wait until `condition()` is true. Raises AssertionError after a while."""
    limit = time.monotonic() + patient(seconds)
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)
