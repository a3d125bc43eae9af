"""A small HTTP server that plays scripted replies, byte by byte, and records the calls that it got.

A test scripts each reply: its status, its headers and the pieces of its body, with pauses between them. So it can show
what no well-behaved server sends. The server listens on a free port of the loopback, in a thread per connection:

    with WildServer(sse({"choices": [{"delta": {"content": "Hi"}}]}, DONE)) as server:
        ask(OpenAIProvider(base_url=f"{server.url}/v1"), …)
    assert len(server.calls) == 1

The nth call gets the nth reply; the last one is repeated.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Self

from tests.patience import patient

#: The last event of Chat Completions.
DONE = b"data: [DONE]\n\n"
EVENT_STREAM = {"Content-Type": "text/event-stream"}
JSON = {"Content-Type": "application/json"}
#: How long the end of a server waits for its thread.
END_SECONDS = 5.0


@dataclass(frozen=True)
class Reply:
    """One scripted reply. A number among the pieces is a pause in seconds.

    With `cut`, the connection breaks after the last piece; otherwise the body ends properly. With `closes`, the server
    closes the connection after a proper end, without having announced it.
    """

    pieces: Sequence[bytes | float] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: EVENT_STREAM)
    cut: bool = False
    closes: bool = False


@dataclass(frozen=True)
class Call:
    """A request as it arrived. The names of the headers are in lower case; `body` is the parsed JSON, if it is JSON."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


def event(value: object, name: str | None = None) -> bytes:
    """Return one server-sent event whose data is `value` as JSON."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def sse(*values: object, cut: bool = False) -> Reply:
    """Return a stream of 200. Bytes are sent as they are, numbers are pauses, anything else becomes an event."""
    pieces = [value if isinstance(value, bytes | float) else event(value) for value in values]
    return Reply(pieces, cut=cut)


def json_reply(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a whole JSON document."""
    return Reply([json.dumps(value).encode()], status=status, headers={**JSON, **(headers or {})})


def text_chunk(text: str, **more: object) -> dict[str, object]:
    """Return a `chat.completion.chunk` with this text; `more` adds to its choice."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}, **more}]}


class WildServer:
    """Plays `replies` to POST requests. GET requests get `listing`, the models in OpenAI's form."""

    def __init__(self, *replies: Reply, models: Sequence[object] = ({"id": "wild"},)) -> None:
        self.replies = list(replies)
        self.listing: Reply = json_reply({"object": "list", "data": list(models)})
        #: The POST requests; `looks` has the GET requests.
        self.calls: list[Call] = []
        self.looks: list[Call] = []
        self._lock = Lock()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def reply_to(self, call: Call) -> Reply:
        """Record `call` and return its reply."""
        with self._lock:
            if call.method != "POST":
                self.looks.append(call)
                return self.listing
            self.calls.append(call)
            return self.replies[min(len(self.calls), len(self.replies)) - 1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(patient(END_SECONDS))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: A reply that still pauses does not hold up the end of a test.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is an ordinary case here."""


def _handler_for(wild: WildServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            _play(self, wild.reply_to(Call(self.command, self.path, headers, raw)))

    return Handler


def _play(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for piece in reply.pieces:
        if isinstance(piece, float):
            time.sleep(piece)
        elif piece:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    if reply.cut:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
        return
    handler.wfile.write(b"0\r\n\r\n")
    handler.close_connection = handler.close_connection or reply.closes
