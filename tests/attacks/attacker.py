"""A process that attacks: `python -m tests.attacks.attacker FILE`, where FILE holds a `Plan` as JSON.

It prints an `Outcome` as JSON when its time is over. It is a separate process, so that the cost of attacking does not
slow down the honest person.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.attacks import wire
from tests.attacks.wire import Refused, Socket, frame

TICK_SECONDS = 0.05
CONNECT_AT_ONCE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to attack. `messages` are hexadecimal payloads, sent in turn; `rate` is messages per second per socket."""

    url: str
    sockets: int = 1
    #: How a socket attacks: one of the functions in `WAYS`, or "half_heads", which opens no socket.
    way: str = "flood"
    messages: tuple[str, ...] = ()
    rate: float = 100.0
    #: The most messages that one socket sends; then it only listens. 0: no limit.
    most: int = 0
    seconds: float = 30.0
    cookies: tuple[str, ...] = ("",)
    addresses: tuple[str, ...] = ("127.0.0.1",)
    #: Reopen a closed socket at once.
    is_stubborn: bool = True
    frame_bytes: int = 0


@dataclass(slots=True)
class Outcome:
    """The result. `closed` and `refused` count close codes and refused handshakes, by code or HTTP status."""

    opened: int = 0
    sent: int = 0
    closed: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)


def count(counts: dict[int, int], key: int) -> None:
    """Increment the count of `key`."""
    counts[key] = counts.get(key, 0) + 1


class Attack:
    """A running plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self.end = time.monotonic() + plan.seconds
        self.frames = [frame(bytes.fromhex(each)) for each in plan.messages]
        self._connecting = asyncio.Semaphore(CONNECT_AT_ONCE)

    async def run(self) -> Outcome:
        """Attack with all sockets in parallel until the time is over."""
        tasks = [asyncio.create_task(self._socket(number)) for number in range(self.plan.sockets)]
        await asyncio.wait(tasks, timeout=max(0.0, self.end - time.monotonic()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return self.outcome

    async def _socket(self, number: int) -> None:
        cookie = self.plan.cookies[number % len(self.plan.cookies)]
        address = self.plan.addresses[number % len(self.plan.addresses)]
        while time.monotonic() < self.end:
            if self.plan.way == "half_heads":
                await self._half_head(address)
                continue
            try:
                async with self._connecting:
                    socket = await Socket.open(self.plan.url, cookie=cookie, address=address)
            except Refused as error:
                count(self.outcome.refused, error.status)
                await asyncio.sleep(TICK_SECONDS)
                continue
            self.outcome.opened += 1
            await self._attack(socket)
            if not self.plan.is_stubborn:
                return

    async def _attack(self, socket: Socket) -> None:
        """Attack with one socket until it closes."""
        attack = asyncio.create_task(WAYS[self.plan.way](self, socket))
        try:
            count(self.outcome.closed, await socket.code())
        finally:
            attack.cancel()
            socket.abort()

    async def _half_head(self, address: str) -> None:
        """Send an endless request head byte by byte; count the status of the response, or 0 without one."""
        parts = urlsplit(self.plan.url)
        try:
            async with self._connecting:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0))
        except OSError:
            count(self.outcome.refused, 0)
            await asyncio.sleep(TICK_SECONDS)
            return
        self.outcome.opened += 1
        answer = asyncio.create_task(reader.read(12))
        writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=1)
        words = b"" if answer.exception() else answer.result()
        count(self.outcome.closed, int(words[9:12] or 0))
        writer.close()

    async def flood(self, socket: Socket) -> None:
        """Send messages in batches at the plan's rate."""
        sent, began = 0, time.monotonic()
        while True:
            due = int((time.monotonic() - began + TICK_SECONDS) * self.plan.rate) - sent
            if self.plan.most:
                due = min(due, self.plan.most - sent)
            socket.send(*(self.frames[(sent + each) % len(self.frames)] for each in range(due)))
            sent += due
            self.outcome.sent += due
            await socket.writer.drain()
            await asyncio.sleep(TICK_SECONDS)

    async def leave(self, socket: Socket) -> None:
        """Send everything at once and disconnect."""
        socket.send(*(self.frames[each % len(self.frames)] for each in range(self.plan.most)))
        self.outcome.sent += self.plan.most
        await socket.writer.drain()
        socket.abort()

    async def unfinished(self, socket: Socket) -> None:
        """Begin a frame and never finish it."""
        socket.send(wire.unfinished_frame(self.plan.frame_bytes, sent=max(0, self.plan.frame_bytes - 1)))
        self.outcome.sent += 1

    async def fragments(self, socket: Socket) -> None:
        """Send empty fragments of a message without an end."""
        socket.send(frame(b"", is_final=False))
        while True:
            socket.send(frame(b"", opcode=wire.CONTINUATION, is_final=False) * int(self.plan.rate * TICK_SECONDS))
            self.outcome.sent += int(self.plan.rate * TICK_SECONDS)
            await socket.writer.drain()
            await asyncio.sleep(TICK_SECONDS)

    async def pings(self, socket: Socket) -> None:
        """Send only pings."""
        while True:
            socket.send(frame(b"?", opcode=wire.PING) * int(self.plan.rate * TICK_SECONDS))
            self.outcome.sent += int(self.plan.rate * TICK_SECONDS)
            await socket.writer.drain()
            await asyncio.sleep(TICK_SECONDS)

    async def come_and_go(self, socket: Socket) -> None:
        """Ask for one page, read nothing, and disconnect."""
        socket.send(*self.frames[:1])
        self.outcome.sent += 1
        await socket.writer.drain()
        socket.abort()

    async def idle(self, socket: Socket) -> None:
        """Keep the socket open after one message."""
        socket.send(*self.frames[:1])
        self.outcome.sent += 1


WAYS = {
    "flood": Attack.flood,
    "leave": Attack.leave,
    "unfinished": Attack.unfinished,
    "fragments": Attack.fragments,
    "pings": Attack.pings,
    "come_and_go": Attack.come_and_go,
    "idle": Attack.idle,
}


def main(arguments: list[str]) -> int:
    """Run the plan in the file, and print the outcome."""
    given: dict[str, Any] = json.loads(Path(arguments[0]).read_text())
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    plan = Plan(**values)
    print(json.dumps(asdict(asyncio.run(Attack(plan).run()))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
