"""The simulator's HTTP server: minimal HTTP/1.1 on plain asyncio, cheap next to the processes that it measures.

Each client connection has one `_Connection`, kept alive between requests. `wire` and `replies` make the replies.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from time import time
from typing import Any, cast

from workers.simulator.journal import Journal
from workers.simulator.pacing import Pacer
from workers.simulator.quirks import refusal
from workers.simulator.replies import Reply, framed, reset
from workers.simulator.script import FAULTS_BEFORE, BadScript, Script, read
from workers.simulator.shapes import error_in_success, shaped, whole
from workers.simulator.text import tokens_of
from workers.simulator.wire import WIRES, Call, Failure, Wire, call_from

_MAX_BODY_BYTES = 32_000_000
_MAX_COUNTED = 100_000
#: The transport of a connection that is not made yet.
_NOWHERE = asyncio.Transport()


class Simulator:
    """The server's state: its defaults, its log, and the number of times each fault has been sent."""

    def __init__(
        self,
        *,
        pace: float,
        first_token_seconds: float,
        journal: Journal,
        script: str = "",
        slots: int = 0,
        window: int = 0,
    ) -> None:
        """`script` holds for every question. Without `slots` there is no limit, without `window` none is listed."""
        self.script, self.slots, self.window = script, Slots(slots), window
        self.pace = pace
        self.first_token_seconds = first_token_seconds
        self.journal = journal
        self.pacer = Pacer(asyncio.get_running_loop())
        self._calls = 0
        self._misbehaved: Counter[str] = Counter()
        self._first_calls: dict[str, float] = {}

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Serve on `host` and `port`."""
        return await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), host, port, backlog=1024, reuse_address=True
        )

    def next_call(self) -> int:
        """Return the number of a new call."""
        self._calls += 1
        return self._calls

    def forgive(self, script: Script, call: Call) -> None:
        """Remove the fault from `script` once it has been sent `times=` times."""
        if not script.fault or script.times is None:
            return
        key = _key_of(script, call)
        if len(self._misbehaved) > _MAX_COUNTED:
            self._misbehaved.clear()
        self._misbehaved[key] += 1
        if self._misbehaved[key] > script.times:
            script.fault = ""

    def is_down(self, script: Script, call: Call) -> bool:
        """Return whether the first call of this key was less than `down=` seconds ago."""
        if not script.down:
            return False
        if len(self._first_calls) > _MAX_COUNTED:
            self._first_calls.clear()
        now = asyncio.get_running_loop().time()
        return now - self._first_calls.setdefault(_key_of(script, call), now) < script.down


def _key_of(script: Script, call: Call) -> str:
    return script.key or sha256(call.message.encode("utf-8", "replace")).hexdigest()


class Slots:
    """The answers that a server writes at once. The others wait without a word, as those of a small server do."""

    def __init__(self, limit: int) -> None:
        """`limit` 0 means none."""
        self._limit = limit
        self._busy: set[object] = set()
        self._waiting: dict[object, Callable[[], None]] = {}

    def take(self, owner: object, begin: Callable[[], None]) -> None:
        """Call `begin` now, or once a slot is free."""
        if self._limit and len(self._busy) >= self._limit:
            self._waiting[owner] = begin
            return
        self._busy.add(owner)
        begin()

    def give_back(self, owner: object) -> None:
        """Free the slot, or give up the place in the queue."""
        self._waiting.pop(owner, None)
        if owner not in self._busy:
            return
        self._busy.remove(owner)
        if self._waiting:
            first = next(iter(self._waiting))
            self.take(first, self._waiting.pop(first))


class _Connection(asyncio.Protocol):
    """One client connection: reads requests and answers them, one at a time."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._buffer = b""
        self._busy = False
        self._reply: Reply | None = None
        self._silent: Call | None = None
        self._transport: asyncio.Transport = _NOWHERE
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no assertion: uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._open = True

    def connection_lost(self, _exc: Exception | None) -> None:
        self._simulator.slots.give_back(self)
        if self._reply is not None:
            self._reply.closed()
        if self._silent is not None:
            self._simulator.journal.write("closed", self._silent, sent=0)
        self._reply = self._silent = None
        self._open = False

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer[:1].isupper():
            self._next_request()
        else:  # not HTTP; TLS, for example
            self._transport.close()

    def _next_request(self) -> None:
        if self._busy or not self._open:
            return
        head, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES or "transfer-encoding" in headers:
            self._send_json(411, {"error": {"message": "a body needs a Content-Length"}}, close=True)
            return
        if len(rest) < int(length):
            return
        self._busy, self._buffer = True, rest[int(length) :]
        method, _, target = lines[0].partition(" ")
        self._answer(method, target.partition(" ")[0].partition("?")[0], headers, rest[: int(length)])

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        wire = next((each for each in WIRES if each.path == path), None)
        if method == "POST" and wire is not None:
            self._complete(wire, headers, body)
        elif method == "GET" and path == "/v1/models":
            model: dict[str, Any] = {"id": "simulator", "object": "model", "type": "model", "owned_by": "naru"}
            if self._simulator.window:
                model["max_model_len"] = self._simulator.window
            self._send_json(200, {"object": "list", "data": [model], "has_more": False})
        elif method == "GET" and path in {"/", "/healthz"}:
            self._send_json(200, {"status": "ok", "what": "Naru's demo simulator"})
        else:
            self._send_json(404, {"error": {"message": "no such path", "type": "invalid_request_error"}})

    def _complete(self, wire: Wire, headers: dict[str, str], body: bytes) -> None:
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        number, trace = self._simulator.next_call(), headers.get("x-client-request-id", "")
        try:
            call = call_from(json.loads(body), number=number, trace=trace, key=key)
            script, question = read(call.message, self._simulator.script)
        except (ValueError, AttributeError) as error:
            why = f"the demo simulator cannot read this: {error}" if isinstance(error, BadScript) else "not a request"
            failure = Failure(400, wire.types[0], None, why)
            self._send_json(400, wire.error_body(failure), {wire.request_id_header: f"req_sim_{number}"})
            return
        self._simulator.journal.write(
            "start",
            call,
            path=wire.path,
            model=call.model,
            key=script.key,
            roles=[message.get("role") for message in call.body["messages"]],
            parameters=sorted(call.body),
        )
        self._simulator.forgive(script, call)
        if self._simulator.is_down(script, call):
            self._refuse(wire, call, script, wire.failure("503", call))
        elif refused := refusal(wire, call, script):
            self._refuse(wire, call, script, refused)
        elif script.status is not None or script.fault in wire.named:
            self._refuse(wire, call, script, wire.failure(script.fault, call))
        elif script.fault in FAULTS_BEFORE:
            self._misbehave(wire, call, script)
        elif not call.body.get("stream"):
            self._refuse(wire, call, script, Failure(400, wire.types[0], None, "the demo simulator only streams"))
        elif script.shape & {"json", "error"}:
            self._send_object(wire, call, script, question)
        else:
            begin = partial(self._stream, shaped(wire, script), call, script, question)
            self._simulator.slots.take(self, begin)

    def _send_object(self, wire: Wire, call: Call, script: Script, question: str) -> None:
        """Send one JSON object where the call asks for a stream."""
        if "error" in script.shape:
            self._simulator.journal.write("fault", call, fault="error", sent=0)
            self._send_json(200, error_in_success(wire))
            return
        tokens = tokens_of(script, question)
        self._simulator.journal.write("first", call)
        self._simulator.journal.write("end", call, sent=len(tokens))
        self._send_json(200, whole(wire, call, "".join(tokens), output_tokens=len(tokens)))

    def _stream(self, wire: Wire, call: Call, script: Script, question: str) -> None:
        simulator, transport = self._simulator, self._transport
        self._head(200, {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked",
                         wire.request_id_header: f"req_sim_{call.number}", **_left(script)})  # fmt: skip
        self._reply = Reply(
            transport,
            wire=wire,
            call=call,
            script=script,
            question=question,
            pace=simulator.pace if script.pace is None else script.pace,
            first_token_seconds=simulator.first_token_seconds if script.first is None else script.first,
            journal=simulator.journal,
            on_end=self._done,
            pacer=simulator.pacer,
        )

    def _refuse(self, wire: Wire, call: Call, script: Script, failure: Failure) -> None:
        self._simulator.journal.write("refused", call, status=failure.status)
        if script.told == "stream":
            self._send(200, wire.error_event(failure), {"content-type": "text/event-stream"})
            return
        headers = {wire.request_id_header: f"req_sim_{call.number}"}
        if script.retry_after.startswith("date:"):
            headers["retry-after"] = formatdate(time() + float(script.retry_after[5:]), usegmt=True)
        elif script.retry_after:
            headers["retry-after"] = script.retry_after
        if script.retry_after_ms:
            headers["retry-after-ms"] = script.retry_after_ms
        if 300 <= failure.status < 400:
            headers["location"] = "/v1/elsewhere"
        self._send_json(failure.status, wire.error_body(failure), headers)

    def _misbehave(self, wire: Wire, call: Call, script: Script) -> None:
        transport = self._transport
        self._simulator.journal.write("fault", call, fault=script.fault, sent=0)
        if script.fault == "refuse":
            reset(transport)
        elif script.fault == "badhead":
            transport.write(b"this is not HTTP\r\n\r\n")
            transport.close()
        elif script.fault == "html":
            self._send(200, b"<html><body>Sign in</body></html>", {"content-type": "text/html"})
        elif script.fault == "gzip":
            self._head(200, {"content-type": "text/event-stream", "content-encoding": "gzip",
                             "transfer-encoding": "chunked"})  # fmt: skip
            transport.write(framed(wire.opening(call)))
        else:  # silent
            self._silent = call

    def _send_json(
        self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None, *, close: bool = False
    ) -> None:
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        self._send(status, data, {"content-type": "application/json", **(headers or {})}, close=close)

    def _send(self, status: int, data: bytes, headers: dict[str, str], *, close: bool = False) -> None:
        self._head(status, {**headers, "content-length": str(len(data))})
        self._transport.write(data)
        if close:
            self._transport.close()
        else:
            self._done()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Simulated"
        lines = [f"HTTP/1.1 {status} {reason}", f"date: {formatdate(usegmt=True)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def _done(self) -> None:
        """Serve the next request, now that the reply is sent."""
        self._reply, self._busy = None, False
        self._simulator.slots.give_back(self)
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._next_request)


def _left(script: Script) -> dict[str, str]:
    """Return the headers that say what is left of the requests of a minute."""
    if script.left is None:
        return {}
    return {"x-ratelimit-remaining-requests": str(script.left), "x-ratelimit-reset-requests": f"{script.reset}s"}
