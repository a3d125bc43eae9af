"""A TCP proxy that harms its connections: delay, loss, black hole, reset, half-close, cut, break on matching bytes.

All proxies of a run share one event loop in a separate thread. Their methods may be called from any thread, and return
when they have taken effect. A proxy inspects the data only for a `Trap`.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import uvloop

T = TypeVar("T")
READ_BYTES = 65536
#: TCP sends a lost packet again after a round trip of 200 ms and its minimum of another 200 ms (RFC 6298, Linux).
RETRANSMISSION_SECONDS = 0.4
#: Bytes that are sent only to store a question: two prepared statements in one message (`shared/postgres/prepared.py`).
STORES = b"; EXECUTE naru_"


@dataclass
class Trap:
    """A trigger that breaks a connection without a reply when the client sends `words`.

    With `armed`, only words after those bytes on the same connection count, such as the COMMIT after an INSERT.
    With `forward`, the server still receives the words.
    """

    words: bytes
    armed: bytes = b""
    forward: bool = True
    #: Called in the proxies' thread before the connection breaks.
    action: Callable[[], None] | None = None
    sprung: threading.Event = field(default_factory=threading.Event)


class Lines:
    """The event loop shared by all proxies of a run."""

    def __init__(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._proxies: list[Proxy] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def proxy(self, port: int) -> Proxy:
        """Start a proxy in front of the loopback port `port`."""
        made = cast("Proxy", self.call(lambda: Proxy.listen(self, port)))
        self._proxies.append(made)
        return made

    def call(self, make: Callable[[], Any]) -> Any:
        """Run a coroutine in the loop, and wait for it."""
        future: Future[Any] = asyncio.run_coroutine_threadsafe(make(), self._loop)
        return future.result(timeout=10)

    def close(self) -> None:
        """Close the proxies, cancel all tasks, and end the loop."""
        for proxy in self._proxies:
            proxy.close()

        async def end() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.call(end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)


class Proxy:
    """A listening port in front of one server."""

    def __init__(self, lines: Lines, target: int) -> None:
        self._lines, self._target = lines, target
        self._pairs: set[Pair] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self.delay_seconds = 0.0
        #: The share of the pieces that arrive RETRANSMISSION_SECONDS later, and all that follow them.
        self.loss = 0.0
        #: The connections that were refused.
        self.refused = 0
        #: The rate of each connection and direction; None for no limit.
        self.bytes_per_second: float | None = None
        self.refuses = False
        self.cut_after: int | None = None
        self.trap: Trap | None = None

    @classmethod
    async def listen(cls, lines: Lines, target: int) -> Proxy:
        """Listen on a free port. Call it in the loop."""
        made = cls(lines, target)
        made._server = await asyncio.start_server(made._accept, "127.0.0.1", 0)
        return made

    @property
    def port(self) -> int:
        """The listening port."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def black_hole(self) -> None:
        """Hold back all traffic, also of new connections, without closing anything."""
        self._do(self._open.clear)

    def pass_all(self) -> None:
        """Return to normal, and deliver the held bytes."""

        def normal() -> None:
            self.delay_seconds, self.loss, self.bytes_per_second = 0.0, 0.0, None
            self.refuses, self.cut_after, self.trap = False, None, None
            self._open.set()

        self._do(normal)

    def forget(self) -> None:
        """Close only the server's side of every connection, as a failover does: the client's side stays half-open."""

        def all_of_them() -> None:
            for pair in set(self._pairs):
                pair.forget()

        self._do(all_of_them)

    def reset(self) -> int:
        """Reset both sides of every connection; return how many there were."""

        def all_of_them() -> int:
            pairs = set(self._pairs)
            for pair in pairs:
                pair.reset()
            return len(pairs)

        return int(self._do(all_of_them))

    def half_close(self) -> None:
        """Send FIN to the client of every connection, as an ending server does; the other direction stays open."""

        def all_of_them() -> None:
            for pair in set(self._pairs):
                pair.half_close()

        self._do(all_of_them)

    def set(self, **values: object) -> None:
        """Set `delay_seconds`, `loss`, `bytes_per_second`, `refuses`, `trap`, or `cut_after`: bytes until a reset."""

        def all_of_them() -> None:
            for name, value in values.items():
                setattr(self, name, value)

        self._do(all_of_them)

    def close(self) -> None:
        """Stop listening, and reset the open connections."""
        self.reset()
        self._do(lambda: self._server.close() if self._server else None)

    def _do(self, what: Callable[[], T]) -> T:
        async def now() -> T:
            return what()

        return cast("T", self._lines.call(now))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            self.refused += 1
            _reset(writer)
            return
        try:
            await self._open.wait()
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            return
        pair = Pair(self, reader, writer, up_reader, up_writer)
        self._pairs.add(pair)
        try:
            with suppress(asyncio.CancelledError):  # cancelled by Lines.close(); asyncio would log it
                await pair.carry()
        finally:
            self._pairs.discard(pair)

    async def gate(self, data: bytes) -> None:
        """Wait for the delay and a loss, for the time that the data takes, and until the proxy passes data again."""
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.loss and random.random() < self.loss:
            await asyncio.sleep(RETRANSMISSION_SECONDS)
        if self.bytes_per_second:
            await asyncio.sleep(len(data) / self.bytes_per_second)
        await self._open.wait()


class Pair:
    """One connection through the proxy: the client's side and the server's."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer, self._up_reader, self._up_writer = reader, writer, up_reader, up_writer
        self._tasks: list[asyncio.Task[None]] = []
        self._armed = False
        self._tail = b""
        self._kept_open = False

    async def carry(self) -> None:
        """Carry both directions until both have ended."""
        self._tasks = [
            asyncio.create_task(self._or_reset(self._up())),
            asyncio.create_task(self._or_reset(self._down())),
        ]
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            if not self._kept_open:
                self._writer.close()
                self._up_writer.close()

    async def _or_reset(self, direction: Coroutine[None, None, None]) -> None:
        """Pass a reset of one side on to the other."""
        try:
            await direction
        except OSError:
            self.reset()

    def reset(self) -> None:
        """Reset both sides."""
        for task in self._tasks:
            task.cancel()
        _reset(self._writer)
        _reset(self._up_writer)

    def forget(self) -> None:
        """Close the server's side, and leave the client with a half-open connection."""
        self._kept_open = True
        for task in self._tasks:
            task.cancel()
        _reset(self._up_writer)
        self._kept = asyncio.create_task(self._swallow())

    async def _swallow(self) -> None:
        try:
            while await self._reader.read(READ_BYTES):
                pass
        finally:
            self._writer.close()

    def half_close(self) -> None:
        """Send FIN to the client."""
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    async def _up(self) -> None:
        while data := await self._reader.read(READ_BYTES):
            await self._proxy.gate(data)
            if self._springs(data):
                return
            self._up_writer.write(data)
            await self._up_writer.drain()
        if self._up_writer.can_write_eof():
            self._up_writer.write_eof()

    async def _down(self) -> None:
        while data := await self._up_reader.read(READ_BYTES):
            await self._proxy.gate(data)
            if self._proxy.cut_after is not None:
                if len(data) >= self._proxy.cut_after:
                    self._writer.write(data[: self._proxy.cut_after])
                    await self._writer.drain()
                    self._proxy.cut_after = None
                    self.reset()
                    return
                self._proxy.cut_after -= len(data)
            self._writer.write(data)
            await self._writer.drain()
        if self._writer.can_write_eof():
            self._writer.write_eof()

    def _springs(self, data: bytes) -> bool:
        """Return whether the proxy's trap springs at `data`; the trap then handles the connection."""
        trap = self._proxy.trap
        if trap is None:
            return False
        seen = self._tail + data
        self._tail = seen[-200:]
        if trap.armed and not self._armed:
            self._armed = trap.armed in seen
            if not self._armed:
                return False
            seen = seen.partition(trap.armed)[2]
        if trap.words not in seen:
            return False
        self._proxy.trap = None
        if trap.forward:
            self._up_writer.write(data)
        asyncio.get_running_loop().call_later(0.05 if trap.forward else 0.0, self._break, trap)
        # The client must not get any part of the reply.
        self._kept_open = True
        self._tasks[1].cancel()
        return True

    def _break(self, trap: Trap) -> None:
        if trap.action is not None:
            trap.action()
        trap.sprung.set()
        self.reset()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = cast("socket.socket | None", writer.get_extra_info("socket"))
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
