"""What both vendors' adapters share: the client's life, and reading one stream of events to its end.

The official async SDK over its aiohttp client makes the call, raises its errors and keeps the connections; the body of
its reply is read here, a network read at a time: the SDK's own decoding costs more than all the rest of a token. Its
retries are off: waiting belongs to the queue, not into a slot. What a request and an event look like is the adapters'
business.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import jiter

from shared.errors import BadStream, ProviderError, StreamBroken
from shared.vendors import SDKS
from workers.providers.base import Done, Finish, Prompt, Stream, Usage
from workers.providers.mapping import mapped, request_id_of
from workers.providers.sdk.body import Body, body_of
from workers.providers.sdk.events import EventBuffer
from workers.providers.sdk.mending import Mender

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
#: After the finish mark the answer is whole; usage may follow, but is worth no more than this wait.
TAIL_SECONDS = 2.0
#: Far above any sensible NARU_CONCURRENCY: slots are counted there, never by waiting for a connection.
MAX_CONNECTIONS = 4096
#: Chat Completions' last event; whatever follows is not part of the answer.
DONE_MARK = b"[DONE]"
#: Long enough to save the next question's handshake; servers that close sooner are noticed when they do.
KEEP_ALIVE_SECONDS = 20.0


class ErrorEvent(Exception):
    """A provider's error within a reply that had begun well."""

    def __init__(self, body: object) -> None:
        super().__init__("an error event")
        #: The provider's error object; for `mapping` only, which shows none of it.
        self.body = body


class Reader(ABC):
    """Reads one stream's events: gives their text and remembers the finish mark and the usage."""

    finish: Finish | None = None
    usage: Usage | None = None

    @abstractmethod
    def read(self, event: Any) -> str | None:
        """The text in `event`, if any. An event of another shape than the protocol's may raise anything."""


class Client(Protocol):
    """An SDK's client, as far as it is used here."""

    async def close(self) -> None:
        """Close its connections."""


ClientT = TypeVar("ClientT", bound=Client)


class SdkProvider(ABC, Generic[ClientT]):
    """A provider reached through a vendor's SDK."""

    loggers: ClassVar[tuple[str, ...]] = (*SDKS, "httpx2", "httpcore2", "aiohttp")

    def __init__(self, name: str, *, api_key: str, base_url: str) -> None:
        self.name = name
        self._api_key = api_key
        self._base_url = base_url
        self._client: ClientT | None = None
        self._opening = asyncio.Lock()

    def stream(self, prompt: Prompt) -> Stream:
        """See `base.Provider.stream`. One item for each network read, not for each event."""
        return _SdkStream(self, prompt)

    async def call(self, prompt: Prompt) -> httpx2.Response:
        """Send the request; return once the reply has begun, with its body unread."""
        return await self._call(await self._opened(), prompt)

    async def warm(self) -> None:
        """Import the SDK and make the client, off the loop: half a second that no answer should wait for."""
        await self._opened()

    async def close(self) -> None:
        """See `base.Provider.close`."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _opened(self) -> ClientT:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._open)
                for name in self.loggers:
                    # At DEBUG an SDK logs whole requests, prompt included.
                    logging.getLogger(name).setLevel(logging.WARNING)
            return self._client

    def _transport(self) -> dict[str, Any]:
        """Options of the SDK's HTTP client."""
        import httpx2  # noqa: PLC0415 - comes with an SDK, and is as heavy

        return {
            # No read timeout here: the limits for first token, silence and total are kept by one timer per
            # stream (timeouts.py); aiohttp's would be set anew with every packet.
            "timeout": httpx2.Timeout(None, connect=CONNECT_SECONDS),
            "limits": httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_SECONDS),
            # A redirect would carry the prompt, and Anthropic's key header, to another host.
            "follow_redirects": False,
            # A proxy of the environment cannot reach this machine's own loopback.
            "trust_env": not is_loopback(self._base_url),
        }

    @abstractmethod
    def _open(self) -> ClientT:
        """Import the SDK and make a client. Runs in a thread."""

    @abstractmethod
    async def _call(self, client: ClientT, prompt: Prompt) -> httpx2.Response:
        """Send the request through the SDK's client."""

    @abstractmethod
    def reader(self) -> Reader:
        """A reader for one stream."""


class _SdkStream(Stream):
    """One call, its reply, and how it ended."""

    def __init__(self, provider: SdkProvider[Any], prompt: Prompt) -> None:
        super().__init__()
        self._provider, self._prompt = provider, prompt
        self._reading, self._reply = _Reading(provider.reader()), _Reply()
        self._body: Body | None = None

    def take(self) -> str:
        """See `base.Stream.take`."""
        if self._body is None or not self._reading.is_open:
            return ""
        return self._reading.read(self._body.take())

    async def _run(self) -> AsyncGenerator[str | Done, None]:
        reading, reply, name = self._reading, self._reply, self._provider.name
        response: httpx2.Response | None = None
        failure: ProviderError | None = None
        try:
            response = await self._provider.call(self._prompt)
            reply.begin(response)
            body = self._body = body_of(response)
            async for piece in body:
                if text := reading.read(piece):
                    yield text
                # What was taken meanwhile may have ended it, too.
                reading.check()
                if reading.is_over:
                    await _read_tail(body, reading)
                    break
        except Exception as error:  # noqa: BLE001 - the one place where foreign errors end
            failure = mapped(error, name=name, started=reply.started, request_id=reply.request_id)
            log.info(
                "provider failed",
                extra={
                    "provider": name,
                    "error": type(error).__qualname__,
                    "error_code": failure.code,
                    "provider_request_id": failure.provider_request_id,
                },
            )
        finally:
            if response is not None:
                await _close(response)
        if failure is not None:
            # Raised out here, so that the foreign error, which may quote the prompt, is not its context.
            raise failure
        if reading.reader.finish is None:
            raise reply.unfinished(name)
        yield Done(reading.reader.finish, reading.reader.usage, reply.request_id)


class _Reply:
    """What is known of one call's reply beside its events."""

    started = False
    request_id: str | None = None
    content_type = ""

    def begin(self, response: httpx2.Response) -> None:
        self.started = True
        self.request_id = request_id_of(response.headers)
        self.content_type = response.headers.get("content-type", "")

    def unfinished(self, name: str) -> ProviderError:
        """The error for a body that ended in good order, but without the finish mark."""
        is_stream = "event-stream" in self.content_type
        kind = StreamBroken if is_stream else BadStream
        return kind(f"{name}: {kind.__doc__}", provider_request_id=self.request_id)


class _Reading:
    """Reads one reply's bytes. Text that came before an error of the same read is given before the error is raised."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        #: Nothing but usage can follow.
        self.is_over = False
        self._events, self._mender = EventBuffer(), Mender()
        self._error: Exception | None = None

    def read(self, piece: bytes) -> str:
        """The text in `piece`; ask `check` then."""
        if not piece:
            return ""
        texts = []
        try:
            for data in self._events.feed(piece):
                if data == DONE_MARK:
                    self.is_over = True
                    break
                texts.append(self._mender.mend(self.reader.read(_parsed(data))))
        except Exception as error:  # noqa: BLE001 - raised by check(), behind the text that came before it
            self._error = error
        self.is_over = self.is_over or self.reader.finish is not None
        return "".join(texts)

    @property
    def is_open(self) -> bool:
        """Whether text can follow: neither an end nor an error was met."""
        return not self.is_over and self._error is None

    def check(self) -> None:
        """Raise what went wrong in the last read; behind the finish mark nothing can spoil the answer."""
        if self._error is not None and self.reader.finish is None:
            raise self._error


def _parsed(data: bytes) -> Any:
    """The JSON in `data`: by the parser that both SDKs bring, in half the time that Python's own takes."""
    try:
        return jiter.from_json(data, cache_mode="keys")
    except ValueError:
        # It takes no half of an emoji, which some servers send; and who else fails is told by the usual error.
        return json.loads(data.decode())


async def _close(response: httpx2.Response) -> None:
    # The connection is gone in any case; how it went is no reason to lose an answer.
    with suppress(Exception):
        await response.aclose()


async def _read_tail(body: Body, reading: _Reading) -> None:
    """Read what follows the finish mark (usage; the end, so that the connection can serve again)."""
    # Whatever goes wrong here, the answer is whole: asking again would be billed twice.
    with suppress(Exception):
        async with asyncio.timeout(TAIL_SECONDS):
            async for piece in body:
                reading.read(piece)


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine's own loopback."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
