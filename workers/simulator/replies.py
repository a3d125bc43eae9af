"""Sends one streamed reply at its pace, with the fault in its script.

A reply is a list of encoded events and a turn of the pacer. If the loop is late, all events that are due go out in one
write, so that the pace holds. The server decides which reply a request gets.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from time import time_ns
from typing import ClassVar

from workers.simulator.journal import Journal
from workers.simulator.pacing import Pacer, Sender, Turn
from workers.simulator.script import FAULTS_WITHIN, Script
from workers.simulator.text import marked_tokens, tokens_of
from workers.simulator.wire import Call, Failure, Wire

_PING_SECONDS = 0.05
_DRIP_BYTES = 7
_DRIP_SECONDS = 0.0005


def framed(data: bytes) -> bytes:
    """Return `data` as one chunk of HTTP's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


HTTP_END = b"0\r\n\r\n"


def reset(transport: asyncio.WriteTransport) -> None:
    """Close with a TCP reset, like a crashing server or a middlebox."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Reply:
    """One streamed reply."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        *,
        wire: Wire,
        call: Call,
        script: Script,
        question: str,
        pace: float,
        first_token_seconds: float,
        journal: Journal,
        on_end: Callable[[], None],
        pacer: Pacer,
    ) -> None:
        self._transport, self._wire, self._call, self._script = transport, wire, call, script
        self._pace, self._journal, self._on_end = pace, journal, on_end
        tokens = tokens_of(script, question)
        self._total = len(tokens)
        if script.emit == "call":
            tokens = marked_tokens(call.number, len(tokens))
        lead = [] if script.emit == "clock" else wire.lead(call)
        self._deltas = [] if script.emit == "clock" else [framed(each) for each in (*lead, *wire.deltas(call, tokens))]
        self._total += len(lead)
        self._stops_at = min(script.at, self._total) if _stops(script) else self._total
        self._clock_parts = wire.around(call)
        self._sent = 0
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time() + first_token_seconds
        self._pacer, self._turn, self._sender = pacer, Turn(self._step), Sender(transport)
        self._timer: asyncio.TimerHandle | Turn | None = self._turn
        transport.write(framed(wire.opening(call)))
        pacer.at(self._began, self._turn)

    def closed(self) -> None:
        """Handle the client closing the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._journal.write("closed", self._call, sent=self._sent)

    def _step(self) -> None:
        if self._sent >= self._stops_at:
            self._finish()
            return
        due = self._stops_at
        if self._pace:
            due = min(due, int((self._loop.time() - self._began) * self._pace + 1.0001))
        if due > self._sent:
            if self._sent == 0:
                self._journal.write("first", self._call)
            self._send(due)
        if self._sent < self._stops_at:
            self._pacer.at(self._began + self._sent / self._pace, self._turn)
        else:
            self._finish()

    def _send(self, due: int) -> None:
        if self._script.emit == "clock":
            data = b"".join(self._stamped(number) for number in range(self._sent, due))
        elif due == self._sent + 1:
            data = self._deltas[self._sent]
        else:
            data = b"".join(self._deltas[self._sent : due])
        self._sent = due
        self._sender.write(data)

    def _stamped(self, number: int) -> bytes:
        before, after = self._clock_parts
        return framed(b'%b"w%d@%d "%b' % (before, number, time_ns(), after))

    def _finish(self) -> None:
        """End the reply: all tokens are sent, or as many as the fault allows."""
        fault = self._script.fault
        act = self._FAULTS.get(fault)
        if act is not None:
            self._journal.write("fault", self._call, fault=fault, sent=self._sent)
            act(self)
            return
        mark = self._mark()
        self._end(framed(mark + self._wire.end()) + HTTP_END if self._script.done else framed(mark) + HTTP_END)

    def _mark(self) -> bytes:
        return self._wire.finish(self._call, self._script.finish, output_tokens=self._sent, usage=self._script.usage)

    def _end(self, data: bytes) -> None:
        self._transport.write(data)
        self._timer = None
        self._journal.write("end", self._call, sent=self._sent)
        self._on_end()

    def _hang(self) -> None:
        # A timer far in the future keeps the reply open, so that `closed` notes when the client goes.
        self._timer = self._loop.call_later(86_400, self._transport.abort)

    def _tail(self) -> None:
        self._transport.write(framed(self._mark()))
        self._hang()

    def _ping(self) -> None:
        self._transport.write(framed(self._wire.keep_alive()))
        self._timer = self._loop.call_later(_PING_SECONDS, self._ping)

    def _cut(self) -> None:
        self._timer = None
        reset(self._transport)

    def _eof(self) -> None:
        self._timer = None
        self._transport.close()

    def _clean_end(self) -> None:
        self._end(HTTP_END)

    def _malformed(self) -> None:
        before, _ = self._clock_parts
        self._transport.write(framed(before + b'"half a to\n\n'))
        self._hang()

    def _error(self) -> None:
        kind = self._script.type or self._wire.overloaded
        words = self._script.say or f"[prompt: {self._call.message}] [{self._call.key}]"
        failure = Failure(200, kind, self._script.code or None, words)
        self._end(framed(self._wire.error_event(failure)) + HTTP_END)

    def _drip(self) -> None:
        self._sent = self._total
        whole = b"".join(self._deltas) + framed(self._mark() + self._wire.end()) + HTTP_END
        pieces = [whole[at : at + _DRIP_BYTES] for at in range(0, len(whole), _DRIP_BYTES)]
        self._journal.write("first", self._call)
        self._drip_on(pieces, 0)

    def _drip_on(self, pieces: list[bytes], position: int) -> None:
        if position == len(pieces) - 1:
            self._end(pieces[position])
            return
        self._transport.write(pieces[position])
        self._timer = self._loop.call_later(_DRIP_SECONDS, self._drip_on, pieces, position + 1)

    _FAULTS: ClassVar[dict[str, Callable[[Reply], None]]] = {
        "hang": _hang,
        "ping": _ping,
        "tail": _tail,
        "cut": _cut,
        "eof": _eof,
        "end": _clean_end,
        "malformed": _malformed,
        "error": _error,
        "drip": _drip,
    }


def _stops(script: Script) -> bool:
    """Return whether the fault acts after `at` tokens and not at the end. (`drip` sends the tokens itself.)"""
    return script.fault in FAULTS_WITHIN and script.fault != "tail"
